"""What can go wrong when a compiled network is loaded or run."""


class EngineError(Exception):
    """Root of this package's errors. The message says what, what was got, and what to do."""


class SpecError(EngineError):
    """A spec sidecar is missing, unreadable, or does not describe the file beside it."""


class EngineUnavailable(EngineError):
    """The engine asked for cannot run here: a package, a driver or a device is missing."""


class StepError(EngineError):
    """A step failed while running. The stream's cache must be treated as lost."""


class DeviceError(EngineError):
    """A call to the GPU's driver failed. The message names the call and the code."""


class OutOfDeviceMemory(DeviceError):
    """The GPU has too little free memory for what was asked."""
