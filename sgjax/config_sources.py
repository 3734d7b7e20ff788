"""Where options come from: command line over environment over file over defaults.

Every value keeps where it was found, so that an error can say it: a flag, a variable, a line.
"""

import dataclasses
import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from sgjax.config import ServeConfig, option_names, resolve, serve_options
from sgjax.errors import ConfigError

logger = logging.getLogger(__name__)

ENV_PREFIX = "SGJAX_"


@dataclasses.dataclass(frozen=True)
class Found:
    """A value of an option, and where it was found."""

    name: str
    value: Any
    where: str


_MODELSCOPE = "SGLANG_USE_MODELSCOPE"


def merge(*sources: Iterable[Found]) -> ServeConfig:
    """Makes a config from sources, the strongest first.

    Raises:
        ConfigError: for an unknown option, one given twice in a source, or a bad value.
    """
    chosen: dict[str, Any] = {}
    for source in sources:
        for key, value in _read(source).items():
            chosen.setdefault(key, value)
    return ServeConfig(**chosen)


def _read(source: Iterable[Found]) -> dict[str, Any]:
    """One source's values by field, checked. Of one flag given twice the last one counts."""
    found: dict[str, Found] = {}
    for item in source:
        key = resolve(item.name, item.value, item.where)
        if key is None:
            continue
        if key in found and found[key].name != item.name:
            raise ConfigError(f"{found[key].where} and {item.where} are one option: give one.")
        found[key] = item
    return {key: _value(key, item) for key, item in found.items()}


def _value(key: str, item: Found) -> Any:
    option = serve_options()[key]
    if key == "load_format":  # ServeConfig says more of the formats that are not read
        return item.value
    if isinstance(item.value, str):
        return option.parse(item.value, item.where)
    option.check(item.value, item.where)
    return item.value


def from_environment(environ: Mapping[str, str]) -> list[Found]:
    """The options among the variables: SGJAX_PAGE_SIZE=64 is --page-size 64, and SGLang's
    SGLANG_USE_MODELSCOPE=true is --source modelscope.

    Another variable that starts so is warned about and left out: a cluster may have set it.
    """
    found = []
    if environ.get(_MODELSCOPE, "").lower() in ("1", "true"):
        found.append(Found("source", "modelscope", _MODELSCOPE))
    for variable, value in sorted(environ.items()):
        if not variable.startswith(ENV_PREFIX):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name in option_names():
            found.append(Found(name, value, variable))
        else:
            near = difflib.get_close_matches(name, option_names(), 1)
            hint = f" Did you mean {ENV_PREFIX}{near[0].upper()}?" if near else ""
            logger.warning("The variable %s is no option.%s", variable, hint)
    return found


def shipped_configs(kind: str = "serve") -> Path:
    """A folder of configs that come with sgjax: in the package, or in a source checkout."""
    package = Path(__file__).parent
    installed = package / "configs" / kind
    return installed if installed.is_dir() else package.parent / "configs" / kind


def from_file(path: str) -> list[Found]:
    """The options of a YAML file, or of a shipped one by its name (`demo` is demo.yaml).

    Raises:
        ConfigError: if it cannot be read, is not YAML, or is not a mapping; with the line.
    """
    file = Path(path)
    if not file.suffix and not file.exists():
        file = shipped_configs() / f"{path}.yaml"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shipped = ", ".join(sorted(known.stem for known in shipped_configs().glob("*.yaml")))
        raise ConfigError(
            f"The config {path} cannot be read: {error}. Give a YAML file, or one that comes with "
            f"sgjax: {shipped}."
        ) from None
    return _parse(text, str(file))


def _parse(text: str, name: str) -> list[Found]:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{name} must hold `option: value` lines, and nothing else.")
        pairs = [_pair(loader, key, value, name) for key, value in node.value]
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_message(error, name)) from None
    finally:
        loader.dispose()
    return _once(pairs)


def _pair(loader: yaml.SafeLoader, key: yaml.Node, value: yaml.Node, name: str) -> Found:
    option = str(loader.construct_object(key))
    where = f"{name}, line {key.start_mark.line + 1}: {option}"
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(f"{where} must be one value, not a list or a mapping.")
    return Found(option.replace("-", "_"), loader.construct_object(value), where)


def _once(pairs: list[Found]) -> list[Found]:
    seen: dict[str, Found] = {}
    for item in pairs:
        if item.name in seen:
            raise ConfigError(f"{item.where} stands there twice; first at {seen[item.name].where}.")
        seen[item.name] = item
    return pairs


def _yaml_message(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    return f"{name}{line} is not YAML: {getattr(error, 'problem', None) or error}."
