"""A language model of the transformers library: made on the spot, trained a little, pruned, saved, certified.

    python docs/examples/language_model.py [language_model.png]

It needs the transformers library, `pip install 'cbs-opt[transformers]'`. The model is a Llama of two small decoder
blocks, its text the numbers from one on in words; a folder from a model hub is pruned in the same way, and by
`cbs-opt prune --network hf:FOLDER` without any Python.
"""

import copy
import sys

try:
    from transformers import LlamaConfig, LlamaForCausalLM
except ImportError:
    sys.exit("this example needs the transformers library; pip install 'cbs-opt[transformers]'")

import torch
from matplotlib.figure import Figure
from torch import nn

import cbs_opt

picture = sys.argv[1] if len(sys.argv) > 1 else "language_model.png"

# A text, and a model of it: whoever has read some of it can say what comes next.
small = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
tens = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES, TENS = ["", *small.split(), "eighteen", "nineteen"], ["", "", *tens.split()]


def in_words(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    small = ONES[rest] if rest < 20 else f"{TENS[rest // 10]} {ONES[rest % 10]}"
    return f"{ONES[hundreds]} hundred {small} ," if hundreds else f"{small} ,"


text = " ".join(in_words(number) for number in range(1, 1000)).split()
words = sorted(set(text))
tokens = torch.tensor([words.index(word) for word in text])
windows = tokens.unfold(0, 32, 8)  # (m, 32), overlapping; perplexity is of every fifth, dense against pruned

torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(8):
    for batch in torch.randperm(len(windows)).split(32):
        optimizer.zero_grad()
        model(windows[batch], labels=windows[batch]).loss.backward()
        optimizer.step()
model.eval()


def perplexity(network: nn.Module) -> float:
    with torch.no_grad():
        return float(network(windows[::5], labels=windows[::5]).loss.exp())


# Prune the decoder blocks. Each layer is fitted to the dense one's outputs on what pruned layers before it leave it.
sparsities = [0.5, 0.7, 0.8, 0.9]
runs = [cbs_opt.prune(model, windows, s, targets=["model.layers.*"], bound=False) for s in sparsities]
# runs[0].model.save_pretrained("counting-50") would write a folder that loads wherever the dense one does.


# The same share by magnitude, layer by layer.
def by_magnitude(sparsity: float) -> nn.Module:
    other = copy.deepcopy(model)
    for layer in other.model.layers.modules():
        if isinstance(layer, nn.Linear):
            size = layer.weight.detach().abs()
            layer.weight.data[size <= size.quantile(sparsity)] = 0
    return other


# The first decoder block of both, certified: each layer against all masks with as many zeros in that layer.
print("half of all weights             with the update: gap to the best mask there may be")
print("layer                                this package       magnitude")
ours = cbs_opt.certify_layers(model, runs[0].model, windows, targets=["model.layers.0.*"])
theirs = cbs_opt.certify_layers(model, by_magnitude(0.5), windows, targets=["model.layers.0.*"])
for mine, other in zip(ours, theirs, strict=True):
    print(f"{mine.name:34}{mine.mask_gap:15.1%}{other.mask_gap:16.1%}")

figure = Figure(figsize=(7, 4), layout="constrained")
axes = figure.subplots()
axes.plot(sparsities, [perplexity(run.model) for run in runs], "o-", color="#009E73", label="cbs_opt.prune")
axes.plot(sparsities, [perplexity(by_magnitude(s)) for s in sparsities], "o-", color="#E69F00", label="magnitude")
axes.axhline(perplexity(model), color="#5a6472", linestyle=":", label="dense")
axes.set(xlabel="share of weights that are zero", ylabel="perplexity: lower is better")
axes.legend(frameon=False)
figure.savefig(picture, dpi=110)
print(
    f"\nperplexity {perplexity(model):.3f}, with half of the weights {perplexity(runs[0].model):.3f}; wrote {picture}"
)
