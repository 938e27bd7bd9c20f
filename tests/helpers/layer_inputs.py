"""What a layer sees, by torch alone: the independent check of collected curvature."""

import torch
from torch import nn


def input_of(model, name, x):
    """What the layer sees, in float64."""
    seen = []
    double = model.double()
    hook = double.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    inputs = torch.from_numpy(x)
    with torch.no_grad():
        double(inputs.double() if inputs.is_floating_point() else inputs)
    hook.remove()
    return torch.cat(seen)


def unfolded(target, module, x):
    """Columns (groups, in, columns) by torch's own unfold; padding with zeros only."""
    if target.kind != "conv2d":
        return x.reshape(1, -1, target.inputs).transpose(1, 2).numpy()
    padding = 0 if module.padding == "valid" else module.padding
    columns = nn.functional.unfold(x, module.kernel_size, module.dilation, padding, module.stride)
    return columns.transpose(0, 1).reshape(target.groups, target.inputs, -1).numpy()
