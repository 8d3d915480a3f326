"""What is no longer as its family has it: noted in the configuration, written and read.

Transformers can express fewer layers, fewer word pieces, or fewer neurons in all layers alike. What
else was taken away stands in ``config.attnlab_structure``, and `restore` does it again to a freshly
built model before its weights are read. ``config.attnlab_steps`` tells in order what was done.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from attnlab import heads
from attnlab.classification.packing import pack, unpack
from attnlab.errors import AttnlabWarning, ModelError

STRUCTURE = "attnlab_structure"
STEPS = "attnlab_steps"
_WITHIN = ("query", "key", "value", "output", "up", "down")


class LowRankLinear(nn.Module):
    """A linear layer whose matrix is a product, ``up · down``, of R (I + O) weights.

    Parameters
    ----------
    down : (R, I)
    up : (O, R)
    bias : (O,), or None
    """

    def __init__(self, down: Tensor, up: Tensor, bias: Tensor | None):
        super().__init__()
        self.down = nn.Linear(down.shape[1], down.shape[0], bias=False)
        self.up = nn.Linear(up.shape[1], up.shape[0], bias=bias is not None)
        with torch.no_grad():
            self.down.weight.copy_(down)
            self.up.weight.copy_(up)
            if bias is not None:
                self.up.bias.copy_(bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return self.up(self.down(hidden))


@dataclass(frozen=True)
class Place:
    """Where a matrix is: an attribute of a module."""

    parent: Any
    name: str

    @property
    def module(self) -> Any:
        """What stands there now."""
        return getattr(self.parent, self.name)

    def put(self, module: nn.Module) -> None:
        """Put another module there."""
        setattr(self.parent, self.name, module)


def matrices(model: PreTrainedModel) -> dict[str, Place]:
    """Every matrix of a model by name, each once, also where layers share it.

    Those of layer 3 are called "3.query", "3.key", "3.value", "3.output", "3.up" and "3.down"; the
    others have the name of their module, such as "bert.embeddings.word_embeddings".
    """
    places, seen = {}, set()
    for layer, (site, block) in enumerate(
        zip(heads.sites(model), heads.feed_forwards(model), strict=True)
    ):
        found = [
            *(Place(site.module, name) for name in (site.query, site.key, site.value)),
            Place(site.output_parent, site.output_name),
            Place(block.up_parent, block.up_name),
            Place(block.down_parent, block.down_name),
        ]
        for name, place in zip(_WITHIN, found, strict=True):
            if id(place.module) not in seen:
                places[f"{layer}.{name}"] = place
                seen |= {id(module) for module in place.module.modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding) and id(module) not in seen:
            parent = model.get_submodule(name.rpartition(".")[0])
            places[name] = Place(parent, name.rpartition(".")[2])
    return places


# --- what was done ------------------------------------------------------------------------------


def steps(model: PreTrainedModel) -> list[dict[str, Any]]:
    """What was done to a model, in order: a dict for each step, its name under "step"."""
    return list(getattr(model.config, STEPS, None) or [])


def noted(model: PreTrainedModel, step: str, **about: Any) -> None:
    """Add a step to what a model says was done to it, in place."""
    setattr(model.config, STEPS, [*steps(model), {"step": step, **about}])


def is_changed(config: Any) -> bool:
    """Whether a model has a structure that plain Transformers cannot build."""
    notes = (heads.PRUNED, heads.NARROWED, STRUCTURE)
    return any(getattr(config, note, None) for note in notes)


def _structure(config: Any) -> dict[str, Any]:
    return dict(getattr(config, STRUCTURE, None) or {})


def _set(config: Any, **changes: Any) -> None:
    """Change the note of a structure; what is None or empty goes."""
    table = {name: value for name, value in (_structure(config) | changes).items() if value}
    setattr(config, STRUCTURE, table or None)


def neurons(model: PreTrainedModel) -> list[int]:
    """Feed-forward neurons of each layer.

    Raises
    ------
    ModelError : a matrix that is wrapped, or a product: neurons cannot be told there
    """
    for layer, block in enumerate(heads.feed_forwards(model)):
        for name, linear in (("up", block.up), ("down", block.down)):
            if not heads.is_plain(linear):
                raise ModelError(
                    f"The neurons of layer {layer} cannot be told: its {name} projection is a "
                    f"{type(linear).__name__}. Remove neurons before matrices become products, and "
                    "merge adapters first."
                )
    return [block.up.out_features for block in heads.feed_forwards(model)]


# --- in place, and noted ------------------------------------------------------------------------


def cut_neurons(model: PreTrainedModel, keep: list[Tensor]) -> None:
    """Leave each layer these neurons only, (n,) indices, in place; layers that share must agree."""
    neurons(model)  # raises where they cannot be told
    of_block: dict[int, Tensor] = {}
    for layer, (block, kept) in enumerate(zip(heads.feed_forwards(model), keep, strict=True)):
        if not torch.equal(of_block.setdefault(id(block.up), kept), kept):
            raise ModelError(
                f"Layer {layer} shares its neurons with another layer, so the same must stay in "
                "both."
            )
    done = set()
    for block, kept in zip(heads.feed_forwards(model), keep, strict=True):
        if id(block.up) in done or len(kept) == block.up.out_features:
            continue
        up, down = _with_rows(block.up, kept), _with_columns(block.down, kept)
        setattr(block.up_parent, block.up_name, up)
        setattr(block.down_parent, block.down_name, down)
        done.add(id(up))
    _note_neurons(model)


def _note_neurons(model: PreTrainedModel) -> None:
    blocks = heads.feed_forwards(model)
    counts = [getattr(block.up, "out_features", 0) for block in blocks]
    name = "hidden_dim" if hasattr(model.config, "hidden_dim") else "intermediate_size"
    alike = len(set(counts)) == 1
    if alike:
        setattr(model.config, name, counts[0])
    _set(model.config, neurons=None if alike else counts)


def _with_rows(linear: nn.Linear, kept: Tensor) -> nn.Linear:
    smaller = nn.Linear(linear.in_features, len(kept), bias=linear.bias is not None)
    return _filled(smaller, linear, linear.weight[kept], linear.bias[kept])


def _with_columns(linear: nn.Linear, kept: Tensor) -> nn.Linear:
    smaller = nn.Linear(len(kept), linear.out_features, bias=linear.bias is not None)
    return _filled(smaller, linear, linear.weight[:, kept], linear.bias)


def _filled(smaller: nn.Linear, old: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    smaller.to(old.weight)
    with torch.no_grad():
        smaller.weight.copy_(weight)
        smaller.bias.copy_(bias)
    return smaller.requires_grad_(old.weight.requires_grad)


def keep_layers(model: PreTrainedModel, keep: list[int]) -> None:
    """Leave these layers only, in place; what is noted about them moves to their new numbers."""
    layers, config = heads.layer_list(model), model.config
    number = {layer: place for place, layer in enumerate(keep)}
    gone, table = heads.removed(model), _structure(config)
    owners = _owners(layers)
    for layer in reversed(range(len(layers))):
        if layer not in number:
            del layers[layer]
    config.num_hidden_layers = len(layers)
    for place, site in enumerate(heads.sites(model)):
        if hasattr(site.module, "layer_idx"):
            site.module.layer_idx = place
    pruned: dict[str, list[int]] = {}
    for layer, head in gone:
        if layer in number:
            pruned.setdefault(str(number[layer]), []).append(head)
    setattr(config, heads.PRUNED, pruned or None)
    # of layers that share a module the first that is left has it, and its notes
    heir = {owners[layer]: number[layer] for layer in reversed(keep)}
    for name in ("low_rank", "packed"):
        moved = {}
        for matrix, about in table.get(name, {}).items():
            layer, dot, part = matrix.partition(".")
            if not (dot and layer.isdigit()):
                moved[matrix] = about
            elif int(layer) in heir:
                moved[f"{heir[int(layer)]}.{part}"] = about
        table[name] = moved
    _set(config, low_rank=table["low_rank"], packed=table["packed"])
    _note_neurons(model)
    _note_sharing(model)
    heads.note_narrowing(model)


def share_layers(model: PreTrainedModel, groups: list[list[int]]) -> None:
    """Let the layers of each group be one module, the first of the group, in place."""
    layers, table = heads.layer_list(model), _structure(model.config)
    gone = heads.removed(model)
    for first, *others in groups:
        for other in others:
            layers[other] = layers[first]
        gone = [(layer, head) for layer, head in gone if layer not in others]
        gone += [(other, head) for other in others for layer, head in gone if layer == first]
    pruned: dict[str, list[int]] = {}
    for layer, head in sorted(gone):
        pruned.setdefault(str(layer), []).append(head)
    setattr(model.config, heads.PRUNED, pruned or None)
    known = matrices(model)
    for name in ("low_rank", "packed"):
        table[name] = {
            matrix: about for matrix, about in table.get(name, {}).items() if matrix in known
        }
    _set(model.config, low_rank=table["low_rank"], packed=table["packed"])
    _note_neurons(model)
    _note_sharing(model)
    heads.note_narrowing(model)


def _owners(layers: Any) -> list[int]:
    """For each layer the first one that is the same module."""
    first: dict[int, int] = {}
    return [first.setdefault(id(layer), index) for index, layer in enumerate(layers)]


def _note_sharing(model: PreTrainedModel) -> None:
    owners = _owners(heads.layer_list(model))
    alone = owners == list(range(len(owners)))
    _set(model.config, layers_as=None if alone else owners)


def factorized(model: PreTrainedModel, factors: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Put ``up · down`` in the place of these matrices, in place: (R, I) and (O, R) for each."""
    places, ranks = matrices(model), dict(_structure(model.config).get("low_rank", {}))
    for name, (down, up) in factors.items():
        place = places[name]
        old = place.module
        new = LowRankLinear(down, up, old.bias).to(old.weight)
        place.put(new.requires_grad_(old.weight.requires_grad))
        ranks[name] = len(down)
    packed = {
        name: about
        for name, about in _structure(model.config).get("packed", {}).items()
        if name not in factors
    }
    _set(model.config, low_rank=ranks, packed=packed)


def packed_as(model: PreTrainedModel, names: list[str], kind: str, bits: int = 8) -> None:
    """Note how these matrices are to be written; see `packing.pack`."""
    about = {"kind": kind, "bits": bits}
    packed = dict(_structure(model.config).get("packed", {})) | dict.fromkeys(names, about)
    _set(model.config, packed=packed)


# --- files --------------------------------------------------------------------------------------


def restore(model: PreTrainedModel) -> None:
    """Give a freshly built model the structure that its configuration notes; weights come later."""
    config, table = model.config, _structure(model.config)
    heads.restore_structure(model)
    if counts := table.get("neurons"):
        cut_neurons(model, [torch.arange(count) for count in counts])
    if owners := table.get("layers_as"):
        layers = heads.layer_list(model)
        for layer, owner in enumerate(owners):
            layers[layer] = layers[owner]
    heads.restore_narrowing(model)
    ranks = table.get("low_rank", {})
    places = matrices(model) if ranks else {}  # of a decoder they cannot be told
    for name, rank in ranks.items():
        old = places[name].module
        down, up = (
            old.weight.new_empty(rank, old.in_features),
            old.weight.new_empty(old.out_features, rank),
        )
        places[name].put(LowRankLinear(down, up, old.bias))
    setattr(config, STRUCTURE, table or None)


def write_model(model: PreTrainedModel, folder: Path) -> None:
    """Write configuration and weights; matrices that are noted as packed in few bits.

    Warns with AttnlabWarning about matrices whose numbers are no longer of the kind that was noted,
    such as after training: they are written as they are.
    """
    tensors = dict(model.state_dict())
    for copy in _copies(model):
        del tensors[copy]
    changed = is_changed(model.config)
    if not changed or not (_structure(model.config).keys() & {"packed", "layers_as"}):
        # what only we can read keeps the names of its modules, as it is filled by name
        model.save_pretrained(folder, save_original_format=not changed)
        return
    noted_as, lost = dict(_structure(model.config).get("packed", {})), []
    for name, key in _keys(model, list(noted_as)):
        parts = pack(tensors[key].float(), **noted_as[name])
        if parts is None:
            lost.append(name)
            continue
        del tensors[key]
        tensors |= {f"{key}.{part}": tensor for part, tensor in parts.items()}
    if lost:
        warnings.warn(
            f"The numbers of {len(lost)} matrices ({', '.join(lost[:3])}"
            f"{', ...' if len(lost) > 3 else ''}) have changed since they were rounded, and are "
            "written whole. Quantise after training.",
            AttnlabWarning,
            stacklevel=3,
        )
        _set(model.config, packed={n: a for n, a in noted_as.items() if n not in lost})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    model.config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def unpacked(model: PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What was read of a file, packed matrices as matrices, shared ones for each layer.

    ``model`` has its structure already; ModelError for parts that do not fit it.
    """
    packed, whole = _structure(model.config).get("packed", {}), dict(tensors)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, key in _keys(model, list(packed)):
        parts = {
            part.removeprefix(f"{key}."): whole.pop(part)
            for part in list(whole)
            if part.startswith(f"{key}.")
        }
        try:
            whole[key] = unpack(parts, packed[name]["kind"], packed[name]["bits"], shapes[key])
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise ModelError(
                f"The weights do not fit config.json: {key} is noted as packed "
                f"({packed[name]}), and its parts are {sorted(parts) or 'missing'}."
            ) from error
    return whole | {
        copy: whole[original] for copy, original in _copies(model).items() if original in whole
    }


def _keys(model: PreTrainedModel, names: list[str]) -> Iterator[tuple[str, str]]:
    """The keys of these matrices in a state dict."""
    if not names:  # of a decoder matrices cannot be told
        return
    path = {id(module): name for name, module in model.named_modules()}
    places = matrices(model)
    for name in names:
        if name in places:
            yield name, f"{path[id(places[name].module)]}.weight"


def _copies(model: PreTrainedModel) -> dict[str, str]:
    """Keys of a state dict that only name again what another key holds."""
    first: dict[int, str] = {}
    copies = {}
    named = model.named_parameters(remove_duplicate=False)
    for name, parameter in named:
        original = first.setdefault(id(parameter), name)
        if original != name:
            copies[name] = original
    return copies
