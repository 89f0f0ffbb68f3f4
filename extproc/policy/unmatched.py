"""Why no mapping matched, for operators: the claims that mappings ask for, and which of them the token lacks.

Names only, which are those of the configuration: no log has values of claims.
"""

from collections.abc import Iterable

from extproc.policy.cel.errors import shown
from extproc.policy.search import Evaluated

_NAMED = 8
"""More names are counted, so that one log line stays readable."""


def unmatched(evaluated: Iterable[Evaluated]) -> str:
    """Return the detail of a denial because no mapping matched."""
    looked_at = [each for each in evaluated if not each.foreign and not each.inactive]
    missing = {each.missing for each in looked_at}
    asked = sorted(
        {shown(path) for each in looked_at for path in each.rule.matcher.reads if path[0] == "claims"}
    )
    if not asked:
        return "no mapping matched"
    names = [f"{name} (not in the token)" if name in missing else name for name in asked[:_NAMED]]
    if len(asked) > _NAMED:
        names.append(f"{len(asked) - _NAMED} more")
    return f"no mapping matched; they ask for {', '.join(names)}"
