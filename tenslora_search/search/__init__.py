"""MANY trials: space, study, engine, run. The package is callable: `from tenslora_search import search` names both."""

import sys
from collections.abc import Callable
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """Whoever imports a module of this package binds the package's name where the function `search` should be."""

    @property
    def _function(self) -> Callable[..., Any]:
        from tenslora_search.search.run import search

        return search

    @property
    def __doc__(self) -> str | None:
        return self._function.__doc__

    @property
    def __signature__(self) -> Signature:
        return signature(self._function)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
