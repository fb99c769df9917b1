"""The task that needs no network: scikit-learn's digits 5 to 9."""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas
from tenslora_search.hub.digits_vit import digits


def digits_frame() -> "pandas.DataFrame":
    """Rows of the task: PNG bytes in `image`, the names "5" to "9" in `label`."""
    import pandas as pd
    from PIL import Image

    images, labels = digits(5, 9)

    def png(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        return buffer.getvalue()

    return pd.DataFrame(
        {"image": [png(image) for image in images], "label": [str(label + 5) for label in labels]}
    )
