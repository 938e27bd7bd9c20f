"""Reads and writes models of the transformers library, each a folder.

Such a folder is what ``save_pretrained`` writes: a configuration, a tokenizer, and weights in one or more .safetensors
files. Nothing is downloaded, nothing pickled is read, and no code in the folder is run. A pruned model is written as a
copy of the folder whose weight files hold the pruned tensors in place of their own, in the types they had; all other
files are copied byte by byte.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cbs_opt.errors import InputError, UnavailableMethodError
from cbs_opt.kernel.files import umask

if TYPE_CHECKING:
    import torch

PREFIX = "hf:"
"""How the name of a network begins if it is such a folder: 'hf:models/SmolLM2-135M'."""

WEIGHTS = "*.safetensors"


def folder_of(network: str) -> Path | None:
    """The folder that a network's name stands for; None if it is no model of the transformers library."""
    return Path(network.removeprefix(PREFIX)) if network.startswith(PREFIX) else None


def load_model(folder: str | os.PathLike[str]) -> torch.nn.Module:
    """The model in float32 and eval mode: with its head for causal language models, else the bare encoder.

    Raises
    ------
    InputError
        There is no such folder or no .safetensors in it, or the installed transformers cannot make the model.
    UnavailableMethodError
        The transformers library is not installed.
    """
    import torch

    place = _checked(folder)
    library = _library()
    with _in_words(place, "model"):
        config = library.AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        causal = any(name.endswith("ForCausalLM") for name in config.architectures or ())
        maker = library.AutoModelForCausalLM if causal else library.AutoModel
        model: torch.nn.Module = maker.from_pretrained(
            place,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{place}: {name} holds NaN or infinity; all weights must be finite")
    return model.eval()


def windows(folder: str | os.PathLike[str], text: str | os.PathLike[str], length: int) -> NDArray[np.int64]:
    """The tokens of a text file, cut into windows, shape (windows, ``length``); an incomplete last window is dropped.

    The text is tokenized as a whole, with the folder's own tokenizer and its settings.

    Raises
    ------
    InputError
        The folder has no tokenizer, there is no such text file, it is not UTF-8, or it has fewer tokens than a window.
    """
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 2:
        raise InputError(f"sequence-length: is {length!r}; a whole number of tokens, 2 or more, is needed")
    place, file = _checked(folder), Path(text)
    library = _library()
    try:
        words = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read as text ({error}); UTF-8 is needed") from None
    with _in_words(place, "tokenizer"):
        tokenizer = library.AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        tokens = np.asarray(tokenizer(words, verbose=False)["input_ids"], dtype=np.int64)
    count = len(tokens) // length
    if not count:
        raise InputError(f"{file}: has {len(tokens)} tokens, less than one sequence of {length}; give a longer text")
    return tokens[: count * length].reshape(count, length)


def save_folder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    extras: Mapping[str, bytes],
) -> None:
    """Write a copy of a model's folder with other values for some of its tensors: whole, or not at all.

    Parameters
    ----------
    source, target : path
        The folder to copy, and the new one, which must not exist yet.
    tensors : mapping
        The new values by the names of the model's parameters. They are rounded to the type that the tensor has in its
        file; zeros stay zero.
    extras : mapping
        The contents of further files, by name.

    Raises
    ------
    InputError
        ``target`` exists already or cannot be written, or a tensor is in no weight file.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    place, goal = _checked(source), Path(target)
    require_new_folder(goal)
    files = sorted(place.glob(WEIGHTS))
    stored: dict[str, Path] = {}
    for file in files:
        with safe_open(file, framework="pt") as archive:
            stored.update(dict.fromkeys(archive.keys(), file))
    places = {_stored_name(name, stored): tensor for name, tensor in tensors.items()}
    try:
        work = Path(tempfile.mkdtemp(dir=goal.parent, prefix=f".{goal.name}."))
        try:
            shutil.copytree(place, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(WEIGHTS))
            for file in files:
                with safe_open(file, framework="pt") as archive:
                    held = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
                    about = archive.metadata()
                for name, tensor in held.items():
                    if name in places:
                        held[name] = places[name].detach().cpu().to(tensor.dtype).reshape(tensor.shape).contiguous()
                save_file(held, work / file.name, metadata=about)
                shutil.copymode(file, work / file.name)
            for name, content in extras.items():
                (work / name).write_bytes(content)
            os.chmod(work, 0o777 & ~umask())
            os.rename(work, goal)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    except (OSError, SafetensorError) as error:
        raise InputError(f"{goal}: cannot be written ({getattr(error, 'strerror', None) or error})") from None


def require_new_folder(folder: str | os.PathLike[str]) -> None:
    """Raise if a folder cannot be made: it exists already, or its parent does not exist or cannot be written to.

    Raises
    ------
    InputError
        Names the folder, or its parent.
    """
    goal = Path(folder)
    if goal.exists():
        raise InputError(f"{goal}: is there already; name a folder that is not")
    if not goal.parent.is_dir() or not os.access(goal.parent, os.W_OK | os.X_OK):
        raise InputError(f"{goal}: the folder {goal.parent} does not exist or cannot be written to")


def _stored_name(name: str, stored: Mapping[str, Any]) -> str:
    """The name of a parameter in the weight files, which may leave out or add the name of the inner model."""
    candidates = [name, name.partition(".")[2], *(known for known in stored if known.endswith(f".{name}"))]
    for candidate in candidates:
        if candidate in stored:
            return candidate
    raise InputError(f"{name}: is in no weight file of the folder; the model names its tensors differently there")


def _checked(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place}: no such folder; give one that save_pretrained wrote")
    if not (place / "config.json").is_file():
        raise InputError(f"{place}: has no config.json; give a folder that save_pretrained wrote")
    if not any(place.glob(WEIGHTS)):
        raise InputError(f"{place}: has no .safetensors; save the model anew with save_pretrained, no pickle is read")
    return place


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise UnavailableMethodError(
            "models of Hugging Face need the package transformers; pip install 'cbs-opt[transformers]'"
        ) from None
    return transformers


@contextmanager
def _in_words(place: Path, what: str) -> Iterator[None]:
    """Inside, whatever the transformers library raises becomes an error of one sentence, and its hints are silenced."""
    logging: Any = _library().utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:  # of any kind: a missing file, a class it does not know, a damaged archive
        reason = str(error).strip().splitlines()
        version = _version(place)
        raise InputError(
            f"{place}: its {what} cannot be read by the installed transformers{version} "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'})"
        ) from error
    finally:
        logging.set_verbosity(before)


def _version(place: Path) -> str:
    """Words for the error message on the version that wrote the folder; empty if that is unknown."""
    try:
        written = json.loads((place / "config.json").read_text(encoding="utf-8")).get("transformers_version")
    except (OSError, ValueError, AttributeError):
        return ""
    return f"; it was written by version {written}" if isinstance(written, str) else ""
