"""What the operator of a service decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from depthcast.plan import Mode
from depthcast.service.fetch import FetchRules
from depthcast.service.probe import ProbeLimits


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How a service works; bytes, seconds and counts in the units of the names.

    data: folder of the queue and its files. public_url: what addresses of results begin with; None: as asked.
    jobs: videos worked on at a time. max_queued, max_queued_per_key: that wait or run, of all and of one client.
    fallback: run the embedded model where the one asked for is not installed.
    mode: of the network: windows that look ahead, as the hosted model does, or frame by frame.
    threads: of one job's engine; None: as many as it likes.
    max_job_s: of work on one video. max_upload_bytes: of a video that is sent; `fetch` has that of a fetched one.
    keep_s: how long results are kept; keep_rows_s: how long is known what became of a job.
    disk_bytes: of all files together. link_s: how long the address of a result works.
    grace_s: given to running work when the service is stopped, before it is put back into the queue.
    live_share: of the time, that work takes while live streams run. niceness: of work, behind whatever answers.
    """

    data: Path
    public_url: str | None = None
    jobs: int = 1
    max_queued: int = 1000
    max_queued_per_key: int = 200
    fallback: bool = False
    mode: Mode = Mode.OFFLINE
    threads: int | None = None
    max_job_s: float = 6 * 3600
    max_upload_bytes: int = 2 << 30
    keep_s: int = 7 * 86400
    keep_rows_s: int = 90 * 86400
    disk_bytes: int = 20 << 30
    link_s: int = 86400
    grace_s: float = 10
    live_share: float = 0.25
    niceness: int = 10
    fetch: FetchRules = field(default_factory=FetchRules)
    video: ProbeLimits = field(default_factory=ProbeLimits)
