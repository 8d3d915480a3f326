"""Memory: whether models fit, asked before the work; a process that is killed says nothing."""

import math

import torch

from attnlab.errors import AttnlabError

__all__ = ["free_bytes", "require_memory"]


def free_bytes(where: torch.device) -> float:
    """Return the bytes of memory that are free on a device, infinite where that cannot be told.

    What can be freed at once counts: the system's caches, and on a GPU what torch keeps for later.
    It is the free memory of the machine: a limit on this process, such as a container's, may be
    lower.
    """
    if where.type == "cuda":
        kept = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return float(torch.cuda.mem_get_info(where)[0] + kept)
    try:
        import psutil
    except ModuleNotFoundError:  # it comes with the lab
        return math.inf
    return float(psutil.virtual_memory().available) if where.type == "cpu" else math.inf


def require_memory(needed: float, what: str, where: torch.device) -> None:
    """Raise AttnlabError if something does not fit into the memory that is free.

    Parameters
    ----------
    needed : bytes that it takes at least
    what : takes them, the beginning of the message
    where : on this device
    """
    free = free_bytes(where)
    if needed > free:
        raise AttnlabError(
            f"{what} takes at least {needed / 1e9:,.3g} GB of memory on {where}, and "
            f"{free / 1e9:,.3g} GB are free. End other programs, use a larger machine, or begin "
            "with a smaller model."
        )


def __dir__() -> list[str]:
    return sorted(__all__)
