"""Tasks with labels: classes and numbers of texts, pairs of texts and images."""

from tenslora_search.spec.backbones import OWN_MODEL
from tenslora_search.spec.tasks.task import Kind, Task


def _glue(
    config: str, about: str, *columns: str, report_split: str = "validation", **fields: object
) -> Task:
    """A GLUE task; its test splits carry no labels, so its validation split is the report."""
    kind: Kind = "text" if len(columns) == 1 else "text_pair"
    return Task(
        config,
        about,
        kind,
        columns,
        hub="nyu-mll/glue",
        config=config,
        report_split=report_split,
        **fields,  # type: ignore[arg-type]
    )


LABELLED = (
    _glue("sst2", "GLUE SST-2: is a film review's phrase positive?", "sentence", max_steps=2000),
    _glue("cola", "GLUE CoLA: is the sentence grammatical?", "sentence", metric="matthews"),
    _glue(
        "mrpc",
        "GLUE MRPC: do two news sentences say the same?",
        "sentence1",
        "sentence2",
        max_steps=600,
    ),
    _glue(
        "rte",
        "GLUE RTE: does the first sentence entail the second?",
        "sentence1",
        "sentence2",
        max_steps=600,
    ),
    _glue(
        "stsb",
        "GLUE STS-B: how alike are two sentences, 0 to 5?",
        "sentence1",
        "sentence2",
        metric="pearson_spearman",
        goal="numbers",
        n_outputs=1,
        max_steps=800,
    ),
    _glue(
        "qnli",
        "GLUE QNLI: does the sentence answer the question?",
        "question",
        "sentence",
        max_steps=3000,
    ),
    _glue(
        "qqp", "GLUE QQP: do two questions ask the same?", "question1", "question2", max_steps=4000
    ),
    _glue(
        "mnli",
        "GLUE MNLI: entailment, neutral or contradiction?",
        "premise",
        "hypothesis",
        report_split="validation_matched",
        n_outputs=3,
        max_steps=4000,
    ),
    Task(
        "trec",
        "TREC: what kind of answer does the question ask for? 6 classes",
        "text",
        ("text",),
        hub="CogComp/trec",
        revision="refs/convert/parquet",
        label="coarse_label",
        n_outputs=6,
        report_split="test",
        max_steps=800,
    ),
    Task(
        "ag_news",
        "AG News: topic of a news item, 4 classes",
        "text",
        ("text",),
        hub="fancyzhx/ag_news",
        n_outputs=4,
        report_split="test",
        max_steps=2000,
    ),
    Task(
        "eurosat",
        "EuroSAT RGB: land use from satellite images, 10 classes",
        "image",
        ("image",),
        hub="blanchon/EuroSAT_RGB",
        n_outputs=10,
        report_split="test",
    ),
    Task(
        "dtd",
        "Describable Textures: 47 classes",
        "image",
        ("image",),
        hub="tanganke/dtd",
        n_outputs=47,
        report_split="test",
    ),
    Task(
        "cifar10",
        "CIFAR-10: small photographs, 10 classes",
        "image",
        ("img",),
        hub="uoft-cs/cifar10",
        n_outputs=10,
        report_split="test",
        max_steps=1500,
    ),
    Task(
        "digits",
        "scikit-learn's handwritten digits 5 to 9; no network",
        "image",
        ("image",),
        report_split="test",
        own_model=OWN_MODEL,
        max_steps=120,
        batch_size=8,
        trials=44,
        split=2,
        n_outputs=5,
    ),
    Task(
        "docstrings",
        "which library does a docstring's sentence come from? 5 classes; no network",
        "text",
        ("text",),
        report_split="test",
        own_model="minilm",
        max_steps=600,
        n_outputs=5,
    ),
)
