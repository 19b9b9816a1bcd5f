"""Asks once whether the hub of Hugging Face answers, instead of retrying for half a minute."""

from __future__ import annotations

from layerwise.errors import LayerwiseError


def hub_answers() -> bool:
    """Whether the hub answers within a few seconds; what is in the local cache opens without it."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # the type depends on the HTTP client of the installed version
        return False
    return True


def hub_file(repository: str, name: str) -> str:
    """Path of one file of a repository, from the local cache or the hub.

    Raises:
        LayerwiseError: it is in neither.
    """
    from huggingface_hub import hf_hub_download

    answers = hub_answers()
    try:
        return hf_hub_download(repository, name, local_files_only=not answers)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        why = reason if answers else "the hub does not answer and the local cache does not hold it"
        raise LayerwiseError(f"{name} of {repository} cannot be fetched: {why}") from error
