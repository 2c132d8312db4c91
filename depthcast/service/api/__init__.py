"""The routes of the job API, in the shapes of the hosted one."""
