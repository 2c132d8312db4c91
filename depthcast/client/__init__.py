"""Talks to a service of depth: `depthcast serve` here or elsewhere.

with depthcast.Client() as client:
    made = client.wait(client.submit("street.mp4", depthcast.Options(colormap="turbo")).id)
    client.download(made, "depth.mp4")
"""

from depthcast.client.asynchronous import AsyncClient
from depthcast.client.synchronous import Client
from depthcast.client.values import Advanced, ClientError, Ended, Generation, Options, State

__all__ = ["Advanced", "AsyncClient", "Client", "ClientError", "Ended", "Generation", "Options", "State"]
