"""push(): a folder to a repository on the hub."""

from pathlib import Path

from tenslora_search.hub.lines import one_line
from tenslora_search.hub.quiet import quiet
from tenslora_search.spec.table import QuestionError


def push(folder: Path, name: str) -> str:
    """Uploads an exported folder to ORG/NAME, which is made, private, where it is not there; its
    address. By the token of `hf auth login` or HF_TOKEN.

    `QuestionError` in one line for whatever the hub does not take.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(library_name="tenslora-search")
    message = "Adapter found by tenslora-search"
    try:
        with quiet():
            address = api.create_repo(name, private=True, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except HFValidationError as error:
        raise QuestionError(
            f"--push takes ORG/NAME, such as my-group/sst2-adapter; got {name!r}."
        ) from error
    except HfHubHTTPError as error:
        code = getattr(error.response, "status_code", None)
        hint = " Log in by `hf auth login`, or set HF_TOKEN." if code in (401, 403) else ""
        raise QuestionError(f"cannot push to {name}: {one_line(error)}{hint}") from error
    except Exception as error:  # no network, and whatever a library makes of it
        raise QuestionError(f"cannot push to {name}: {one_line(error)}") from error
    return str(address)
