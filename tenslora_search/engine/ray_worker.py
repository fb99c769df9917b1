"""What Ray imports in a worker that waits: all that its first segment will need."""

import gc

from tenslora_search.engine.imports import bring

bring(
    (
        "tenslora_search.training.segment",
        "transformers.models.auto.modeling_auto",
        "pandas",
        "tenslora_search.engine.ray_tune",
    )
)
gc.freeze()  # it stays until the worker ends: not to be looked through again
