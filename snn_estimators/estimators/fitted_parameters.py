"""Parameters of a net that are fitted models: taken as they are, never cloned."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, Self

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from snn_estimators.estimators.net.base import SklearnNet
from snn_estimators.persistence.stable_hash import canonical

__all__ = ["FittedParameters", "fitted_model", "identity_of_model"]


class FittedParameters(SklearnNet):
    """A net that keeps the models among its parameters out of cloning and nested names."""

    FITTED_PARAMETERS: ClassVar[tuple[str, ...]] = ()
    """Parameters that are fitted models, or None."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; those of a fitted model are its own affair.

        Parameters
        ----------
        deep : bool, default=True
            Also those of a tokenizer instance.

        Returns
        -------
        dict
        """
        parameters = super().get_params(deep=deep)
        nested = tuple(f"{name}__" for name in self.FITTED_PARAMETERS)
        return {k: v for k, v in parameters.items() if not k.startswith(nested)}

    def _check_parameter(self, component: str, parameter: str) -> None:
        if component in self.FITTED_PARAMETERS:
            raise ValueError(
                f"Invalid parameter {component}__{parameter}: a fitted model is taken as it is."
            )
        super()._check_parameter(component, parameter)

    def __sklearn_clone__(self) -> Self:
        """Clone all but the fitted models, which would come out unfitted."""
        given = {name: getattr(self, name) for name in self.FITTED_PARAMETERS}
        self._set_models(dict.fromkeys(given))
        try:
            new = super().__sklearn_clone__()
        finally:
            self._set_models(given)
        new._set_models(given)
        return new

    def _set_models(self, models: dict[str, Any]) -> None:
        for name, model in models.items():
            setattr(self, name, model)


def fitted_model(parameter: str, given: Any, kind: Any, load: Callable[..., Any]) -> Any:
    """Return the fitted model of a kind that a parameter means, or None.

    `load` reads a saved one, as `from_pretrained` does.

    Raises
    ------
    TypeError
        If it is no such thing.
    NotFittedError
        If the model is not fitted.
    FileNotFoundError, ValueError
        See `from_pretrained`.
    """
    if given is None:
        return None
    model = given.estimator if isinstance(given, FrozenEstimator) else given
    if isinstance(model, str | os.PathLike):
        model = load(model, device="cpu")
    if not isinstance(model, kind):
        raise TypeError(
            f"{parameter} must be None, a fitted {kind.__name__}, or the name or path of a saved "
            f"one, got {given!r}."
        )
    if not model.initialized_:
        raise NotFittedError(
            f"The {parameter} model is not fitted: fit it first. Among the values of a search, "
            "which are cloned, give the name of a saved model, or FrozenEstimator(model)."
        )
    return model


def identity_of_model(model: Any) -> Any:
    """Return what distinguishes all that is taken from a fitted model; None of None."""
    if model is None:
        return None
    tokenizer = None if model.tokenizer is None else model.tokenizer_.to_dict()
    parameters = dict(sorted(model.get_params_for("module").items()))
    return canonical([model.module_, model.module, parameters, tokenizer])
