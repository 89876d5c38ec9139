"""The declaration of settings, and the check of values that a user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.settings.synonyms import setting_meant

Role = Literal["training", "arms", "analysis", "execution"]
Task = Literal["regression", "binary", "multiclass", "reconstruction"]
Origin = Literal["flag", "python", "environment", "file", "default"]


def setting(default: Any, words: str, *, role: Role = "training", panel: str = "Training", metavar: str = "") -> Any:
    """A field that is an option: its default, its help in one line, its role, and the panel of `--help` that lists it."""
    extra = {"role": role, "panel": panel, "metavar": metavar, "argument": False}
    return Field(default=default, description=words, json_schema_extra=extra, validate_default=True)  # type: ignore[arg-type]


def argument(words: str, *, metavar: str, default: Any = ...) -> Any:
    """A field that is a positional argument of the command line; required unless it has a default.

    Only the user gives it, never the environment or a file.
    """
    extra = {"role": "execution", "panel": "Arguments", "metavar": metavar, "argument": True}
    return Field(default=default, description=words, json_schema_extra=extra)  # type: ignore[arg-type]


class Settings(BaseModel):
    """The base of all settings: frozen, without unknown keys."""

    # Built when first used: `nnlab --help` needs no validators, and building those of every command took 40 ms.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Self:
        """Settings from values as a user wrote them: text, or the types of TOML and Python.

        Raises:
            UsageError: an unknown name, or a value that can't be what was meant.
        """
        for name in values:
            if name not in cls.model_fields:
                near = setting_meant(name, cls.model_fields)
                raise UsageError(
                    f"{name!r} is not a setting of this command.{near} Accepted: {', '.join(cls.model_fields)}."
                )
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            message = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{mention(name)}: {message}, not {first['input']!r}.") from None

    @classmethod
    def arguments(cls) -> tuple[str, ...]:
        """The names of the settings that are positional arguments, in their order."""
        return tuple(name for name in cls.model_fields if cls.extra(name)["argument"])

    @classmethod
    def with_role(cls, role: Role) -> tuple[str, ...]:
        """The names of the settings that have this role."""
        return tuple(name for name in cls.model_fields if cls.role_of(name) == role)

    @classmethod
    def role_of(cls, name: str) -> Role:
        """The role of the setting `name`."""
        return cls.extra(name)["role"]  # type: ignore[return-value]

    @classmethod
    def extra(cls, name: str) -> Mapping[str, object]:
        """The properties of a field that pydantic does not know: role, panel, metavar, argument."""
        extra = cls.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return extra

    def deciding(self) -> dict[str, object]:
        """Every setting that has a value and can change a number, in JSON's types."""
        shown = self.with_role("execution")
        return {name: value for name, value in self.as_json().items() if name not in shown}

    def as_json(self) -> dict[str, object]:
        """Every setting in JSON's types, as the manifest stores it and an experiment file gives it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
