"""From a trial's state file to a folder that others load: adapter or merged model, task head,
labels, tokenizer, card.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tenslora_search.backbone.load import Backbone, load_backbone
from tenslora_search.backbone.readout import set_units, unpacked
from tenslora_search.data.batches import Split
from tenslora_search.data.goals import GOALS, Goal
from tenslora_search.data.processors import load_processor
from tenslora_search.export.card import card
from tenslora_search.export.cost import Cost, cost_of
from tenslora_search.export.factors import set_trial_factors
from tenslora_search.export.facts import Base, Facts
from tenslora_search.export.formats import FORMATS
from tenslora_search.export.pairs import Pair, served_pairs
from tenslora_search.export.target import export_folder
from tenslora_search.hub.images import ImageProcessor
from tenslora_search.hub.places import HUB_ID, ORIGINS, model_place
from tenslora_search.hub.places import model_digest as digest_of
from tenslora_search.hub.quiet import quiet
from tenslora_search.nn.attach import Adapter, attach, head_parameters
from tenslora_search.spec.backbones import BACKBONES, OWN_MODEL
from tenslora_search.spec.paths import shown
from tenslora_search.spec.table import QuestionError
from tenslora_search.spec.trial import TrialSpec
from tenslora_search.training.states import read_state

LOGGER = logging.getLogger("tenslora_search")


class Trained(NamedTuple):
    """A trial on its backbone. `offset`: what the head's output lacks to be a number in its
    labels' units.
    """

    adapter: Adapter
    spec: TrialSpec
    offset: float = 0.0


Load = Callable[[str, Goal], Backbone]
"""How the base of an export is loaded: by its name, folder or hub id, for a goal."""


class LoadedOnce:
    """Loads as `load_backbone` does, but a model in which trials have no head of their own once: a
    language model takes seconds. For one export after another, in formats that leave its weights
    as they are.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Backbone] = {}

    def __call__(self, model: str, goal: Goal) -> Backbone:
        if goal.n_outputs:
            return load_backbone(model, goal)
        if model not in self._kept:
            self._kept[model] = load_backbone(model, goal)
        backbone = self._kept[model]
        for last in [one for one in backbone.model.modules() if isinstance(one, Adapter)]:
            last.detach()
        return backbone


def load_trained(state: Path, model: str, *, goal: Goal, load: Load | None = None) -> Trained:
    """The backbone (a name, folder or hub id) with the trial on it, alone; its head's classes named
    as the task's.

    A head of numbers answers in the labels' units, less `offset` where it has no bias.
    `QuestionError` if the state is missing, cut off or foreign, or its head is for other labels.
    """
    about, tensors = read_state(state)
    spec = TrialSpec.from_json(about["spec"])
    backbone, anew = (load or load_backbone)(model, goal)
    adapter = attach(backbone, spec.adapter)
    adapter.came_along = anew
    set_trial_factors(
        adapter, {name.removeprefix("value."): tensor for name, tensor in tensors.items()}
    )
    _set_head(state, head_parameters(backbone), tensors)
    units = GOALS[goal.name].again(goal.names, goal.metric, about).kept.get("units")
    return Trained(adapter, spec, set_units(backbone, *units) if units else 0.0)


def _set_head(
    state: Path, parameters: Mapping[str, torch.nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    for name, parameter in parameters.items():
        if (stored := tensors.get(f"value.head.{name}")) is None:
            continue
        found = unpacked(name, stored)
        if found.shape != parameter.shape:
            raise QuestionError(
                f"the task head in {state} does not fit: {name} has shape {tuple(found.shape)}, "
                f"and {tuple(parameter.shape)} by the labels in run.json, which do not match."
            )
        with torch.no_grad():
            parameter.copy_(found)


def export_trained(
    state: Path,
    to: Path,
    format: str,
    *,
    model: str,
    facts: Facts,
    model_digest: str | None = None,
    options: Mapping[str, Any] | None = None,
    select: Callable[[], Split] | None = None,
    load: Load | None = None,
) -> Path:
    """Writes the trial as `peft`, `native` or `merged`, with all that is needed to use it; returns
    `to`.

    `options` are those of the format, such as the rank of a LoRA checkpoint; what that costs is
    measured on the rows of `select`. `QuestionError` if the state cannot be read, if `to` holds
    anything but an earlier export, or if the model's files are not those of `model_digest`.
    """
    form, options = FORMATS[format], options or {}
    form.check(format, options)
    _check_model(model, model_digest)
    with export_folder(to) as folder:
        base = _base(model, to, facts, is_needed=form.needs_base)
        adapter, spec, offset = load_trained(state, model, goal=facts.goal, load=load)
        config: Any = _told(adapter.model.config, base, offset)
        with quiet():
            pairs = form.save(adapter, folder, **options)
            config.save_pretrained(folder)
            _save_processor(model, folder, facts.training["max_length"])
        if form.needs_base and model == OWN_MODEL:  # it is on no hub, and travels along
            shutil.copytree(model_place(model), folder / "base")
        is_headless = facts.goal.n_outputs > 0 and not options.get("head", True)
        facts = replace(facts, label_offset=offset, is_headless=is_headless)
        if isinstance(pairs, Mapping):
            facts = _of_pairs(facts, adapter, pairs, options.get("rank"), select)
        # a command, or the folder, may have a name that is no UTF-8
        text = card(facts, spec, base, form, str(to))
        (folder / "README.md").write_text(text, encoding="utf-8", errors="replace")
    return to


def _base(model: str, to: Path, facts: Facts, *, is_needed: bool) -> Base:
    """`QuestionError` for one that whoever finds the adapter on the hub needs and does not have."""
    base = base_of(model, to, facts.base_name, is_pushed=bool(facts.push))
    if facts.push and is_needed and base.hub is None and model != OWN_MODEL:
        raise QuestionError(
            f"--push of an adapter over {shown(model)}, a folder of this machine that others do "
            "not have: name the base by its id on the hub with --base-name, or take --format "
            "merged."
        )
    return base


def _told(config: Any, base: Base, offset: float) -> Any:
    """The model's config with what save_peft writes down and the card's code reads."""
    config._name_or_path = base.place
    if offset:
        config.label_offset = offset
    return config


def _check_model(model: str, digest: str | None) -> None:
    if digest and digest_of(model) != digest:
        raise QuestionError(
            f"the model {model} has changed since the search: its adapters belong to the files as "
            "they were."
        )


def _of_pairs(
    facts: Facts,
    adapter: Adapter,
    pairs: Mapping[str, Pair],
    rank: int | None,
    select: Callable[[], Split] | None,
) -> Facts:
    """What the card says of a LoRA checkpoint besides; with a `rank`, what that costs."""
    cost = _cost(adapter, pairs, rank, facts, select) if rank else None
    return replace(facts, served=served_pairs(pairs), cost=cost)


def _cost(
    adapter: Adapter,
    pairs: Mapping[str, Pair],
    rank: int,
    facts: Facts,
    select: Callable[[], Split] | None,
) -> Cost:
    """Of fewer ranks than the adapter has; without a score where the data are no more, or the
    weights take no update.
    """
    split, why = None, ""
    if getattr(adapter.model, "is_quantized", False):
        why = "quantized weights take no update."
    elif select is not None:
        try:
            split = select()
        except QuestionError as error:
            why = str(error)
    if why:
        LOGGER.warning("the cost of --rank on select is not known: %s", why)
    cost = cost_of(adapter, pairs, rank, facts.goal, split)
    LOGGER.warning("%s", cost.said(facts.metric))
    return cost


def base_of(model: str, to: Path, base_name: str | None = None, *, is_pushed: bool = False) -> Base:
    """The backbone as the user of an export finds it; `to` is the export's folder, which moves
    where it `is_pushed`. `base_name` is the hub id of a base that is a folder here.
    """
    found = _base_here(model, to, is_pushed=is_pushed)
    if base_name is None:
        return found
    if not HUB_ID.fullmatch(base_name):
        raise QuestionError(
            f"--base-name takes an id on the hub, such as ORG/MODEL; got {base_name!r}."
        )
    if found.hub is not None or model == OWN_MODEL:
        raise QuestionError(
            f"--base-name names a base that is a folder of this machine; this one is {model}, "
            "which others have too: leave it out."
        )
    return Base(base_name, base_name, base_name, repr(base_name))


def _base_here(model: str, to: Path, *, is_pushed: bool) -> Base:
    if model == OWN_MODEL:
        carried = str(to.expanduser().resolve() / "base")
        return Base(
            model,
            "" if is_pushed else carried,
            None,
            'f"{folder}/base"',
            "The base model is on no hub; it lies in `base/` of this folder.",
        )
    place = (BACKBONES[model].hub if model in BACKBONES else "") or model_place(model)
    origin = ORIGINS.get(model, "")
    if not Path(place).is_dir():
        return Base(place, place, place, repr(place), origin)
    path = str(Path(place).resolve())
    note = origin or (
        "The base model is a local folder: on no hub, and not part of this one. Hand it on "
        "with the adapter."
    )
    if is_pushed:
        return Base(Path(path).name, "", None, repr(Path(path).name), note)
    return Base(path, path, None, repr(path), note)


def _save_processor(model: str, folder: Path, max_length: int) -> None:
    """A tokenizer that cuts, where it is told to, as in training."""
    processor = load_processor(model)
    if isinstance(processor, ImageProcessor):
        processor.save(folder)
        return
    own = processor.model_max_length
    processor.model_max_length = min(own, max_length)
    try:
        processor.save_pretrained(str(folder))
    finally:
        processor.model_max_length = own  # it is shared
