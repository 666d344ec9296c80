"""skorch's `NeuralNet`, brought in line with scikit-learn's conventions.

What differs from skorch: nothing but parameters is visible before `fit`; unknown parameters, also
those of the module, are rejected by name; parameters take effect at the next fit;
``device="auto"``; `random_state`, with the global random generators left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.utils import params_for
from torch import nn

from snn_estimators._torch import (
    GeneratorStates,
    check_device,
    generator_states,
    has_device,
    private_generators,
    resolve_device,
    set_generator_states,
)
from snn_estimators._validation import short, suggest
from snn_estimators._warnings import warn

__all__ = ["SklearnNet"]


class _BeforeFit:
    """An attribute that skorch sets on construction, kept where scikit-learn does not look.

    To scikit-learn a public attribute that ends in an underscore means "fitted".
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._hidden = f"_{name.rstrip('_')}"

    def __get__(self, net: Any, owner: type | None = None) -> Any:
        if net is None:
            return self
        try:
            return vars(net)[self._hidden]
        except KeyError:
            raise AttributeError(self._name) from None

    def __set__(self, net: Any, value: Any) -> None:
        vars(net)[self._hidden] = value


def _is_nested(name: str) -> bool:
    """Return whether a name is that of a component's parameter, such as module__heads."""
    return "__" in name and not name.startswith("_")


class SklearnNet(NeuralNet):
    """A skorch net that keeps scikit-learn's conventions; see the module's description.

    Subclasses store their own parameters before they call ``super().__init__``.
    """

    history_ = _BeforeFit()
    initialized_ = _BeforeFit()
    virtual_params_ = _BeforeFit()

    random_state: Any
    device: Any
    _components: tuple[str, ...] = (
        "module",
        "criterion",
        "optimizer",
        "iterator_train",
        "iterator_valid",
        "dataset",
    )

    def __init__(self, module: Any, **kwargs: Any) -> None:
        # To scikit-learn attributes are declared parameters; those of components live here.
        self._nested: dict[str, Any] = {}
        super().__init__(module, **kwargs)
        for name in [name for name in vars(self) if _is_nested(name)]:
            self._nested[name] = self.__dict__.pop(name)
        unknown = kwargs.keys() - inspect.signature(NeuralNet.__init__).parameters
        for name in sorted(unknown):
            component, nested, parameter = name.partition("__")
            if not nested:
                valid = [known for known in self._known_names() if known not in unknown]
                raise TypeError(
                    f"{type(self).__name__}() got an unexpected parameter {name!r}: "
                    f"{suggest(name, valid)}"
                )
            self._check_parameter(component, parameter)

    # Parameters

    def _own_names(self) -> list[str]:
        return sorted(k for k in vars(self) if not k.startswith("_") and not k.endswith("_"))

    def _known_names(self) -> list[str]:
        """Return the parameters' names, those of the components under their full names."""
        nested = [
            f"{component}__{name}"
            for component in self._components
            for name in self._names_of_component(component) or ()
        ]
        return [*self._own_names(), *nested]

    def _get_param_names(self) -> list[str]:
        return [*self._own_names(), *sorted(self._nested)]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; of the callbacks only what was set, as they follow from others.

        Parameters
        ----------
        deep : bool, default=True
            Also those of a tokenizer instance.

        Returns
        -------
        dict
        """
        return BaseEstimator.get_params(self, deep=deep)

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        return params_for(prefix, self._nested)

    def __getattr__(self, name: str) -> Any:
        nested = vars(self).get("_nested", {})
        if name in nested:
            return nested[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if _is_nested(name):
            component, _, parameter = name.partition("__")
            self._check_parameter(component, parameter)
            self._nested[name] = value
        else:
            super().__setattr__(name, value)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, to take effect at the next fit.

        Only ``lr`` and ``optimizer__*`` reach a fitted estimator at once, for `partial_fit`.

        Raises
        ------
        ValueError
            If there is no such parameter; the message names the nearest.
        """
        own = {name: value for name, value in params.items() if "__" not in name}
        for name in own.keys() - set(self._own_names()):
            raise ValueError(self._invalid(name, name))
        for name, value in own.items():
            self._set_parameter(name, value)
        for name in [name for name in params if name not in own]:
            component, _, parameter = name.partition("__")
            self._check_parameter(component, parameter)
            owner = getattr(self, component, None)
            if isinstance(owner, BaseEstimator):
                owner.set_params(**{parameter: params[name]})
            else:
                self._set_parameter(name, params[name])
        return self

    def _validate_params(self) -> None:
        """Do nothing: names were checked when they were given, values are in fit."""

    def _set_parameter(self, name: str, value: Any) -> None:
        if self._is_virtual_param(name):  # of the optimizer, which is at work already
            super().set_params(**{name: value})
        if _is_nested(name):
            self._nested[name] = value
        else:  # past skorch, which would rebuild a fitted module at once, and lose its weights
            object.__setattr__(self, name, value)

    def _check_parameter(self, component: str, parameter: str) -> None:
        """Raise ValueError unless the component takes a parameter of that name."""
        if component == "callbacks":
            self._check_callback(parameter.partition("__")[0])
        if component in ("callbacks", "compile"):
            return
        if component not in self._components:
            raise ValueError(self._invalid(component, f"{component}__{parameter}"))
        accepted = self._names_of_component(component)
        if accepted is not None and parameter.partition("__")[0] not in accepted:
            raise ValueError(
                f"Invalid parameter {parameter!r} for {component} "
                f"{self._component_type(component).__name__}: {suggest(parameter, accepted)}"
            )

    def _invalid(self, name: str, full_name: str) -> str:
        kind = type(self).__name__
        hint = suggest(full_name, self._known_names())
        return f"Invalid parameter {name!r} for estimator {kind}: {hint}"

    def _names_of_component(self, component: str) -> list[str] | None:
        """Return the parameters of a component, None if it takes any or is nothing of the kind."""
        owner = self._component_type(component)
        if owner is None:  # fit will say what is wrong with the component itself
            return None
        accepted = dict(inspect.signature(owner).parameters)
        if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            return None
        if component == "optimizer":
            accepted["param_groups"] = accepted.pop("params")
        return sorted(accepted)

    def _check_callback(self, name: str) -> None:
        names = [known for known, _ in self._uniquely_named_callbacks()]
        if name not in names:
            raise ValueError(f"There is no callback {name!r}: {suggest(name, names)}")

    def _component_type(self, component: str) -> Any:
        """Return what a component is built with, None if it is nothing of the kind."""
        owner = getattr(self, component)
        if isinstance(owner, nn.Module | BaseEstimator):
            return type(owner)
        return owner if inspect.isclass(owner) or inspect.isroutine(owner) else None

    def __repr__(self) -> str:
        """Show the parameters that differ from the defaults, as scikit-learn does."""
        kind: Any = type(self)
        defaults = kind().get_params(deep=False)
        changed = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in defaults or repr(defaults[name]) != repr(value)
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    # Device

    @property
    def device_(self) -> torch.device:
        """Where the fitted module is."""
        return next(self.module_.parameters(), torch.empty(0)).device

    @contextmanager
    def _concrete_device(self) -> Iterator[None]:
        """Show skorch a device that PyTorch knows, and that is there."""
        requested, self.device = self.device, check_device(self.device)
        try:
            yield
        finally:
            self.device = requested

    def initialize(self) -> Self:
        """Build module, criterion, optimizer and callbacks; `fit` calls this."""
        self.initialized_ = False  # so that skorch does not print what it rebuilds
        with self._concrete_device():
            super().initialize()
        return self

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load what skorch's ``save_params`` wrote; see there."""
        with self._concrete_device():
            super().load_params(*args, **kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        requested = state["device"]
        nested = dict(state["_nested"])  # a copy has parameters of its own
        is_there = has_device(requested)
        concrete = resolve_device(requested if is_there else "cpu")
        super().__setstate__({**state, "_nested": nested, "device": concrete})
        self.device = requested
        if self.initialized_ and not is_there:  # an unfitted one may be on its way elsewhere
            self._fall_back_to_cpu()

    def _fall_back_to_cpu(self) -> None:
        warn(
            f"The model was saved with device={short(self.device)}, which is not there: it "
            "computes on the CPU."
        )
        self.device = "cpu"

    # Randomness

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _private_generators(self, start: int | GeneratorStates) -> AbstractContextManager[None]:
        return private_generators(self.device, start)

    def _set_generators(self, states: GeneratorStates) -> None:
        set_generator_states(self.device, states)

    def _generator_states(self) -> GeneratorStates:
        return generator_states(self.device)
