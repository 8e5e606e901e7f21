"""What goes wrong in the reader's language: the commonest messages of the library are known by their form."""

from __future__ import annotations

import re

from crmlib.errors import CrmError
from crmlib.views.texts import Language, later

_KNOWN = [
    (re.compile(form, re.DOTALL), words)
    for form, words in (
        (
            r"(?P<folder>.+): there is no such data folder; .*",
            later("{folder}: there is no such data folder; run `crm demo`, or load your own files with `crm load`"),
        ),
        (
            r"(?P<folder>.+): (there is no warehouse here|nothing was loaded yet); .*",
            later("{folder}: nothing was loaded yet; load something with `crm load` or `crm demo`"),
        ),
        (
            r"version (?P<version>\d+) of the warehouse holds no events; .*",
            later("version {version} of the warehouse holds no events; load some data with `crm load`"),
        ),
        (
            r"(?P<folder>.+) holds no scores yet; .*",
            later("{folder} holds no scores yet; run `crm demo`, or `crm train` and `crm score` on your own data"),
        ),
        (
            r"there are no (?P<model>\w+) scores( as of \S+)? below .+; make some with `(?P<command>[^`]+)`",
            later("there are no {model} scores yet; make some with `{command}`"),
        ),
        (
            r"nothing is known of loyalty below .+ yet; run `crm loyalty`",
            later("nothing is known of loyalty yet; run `crm loyalty`"),
        ),
        (
            r"(?P<file>\S+) is gone; score again with `crm score`",
            later("{file} is gone; score again with `crm score`"),
        ),
        (
            r"(?P<file>\S+) is damaged and cannot be read; .*",
            later("{file} is damaged and cannot be read; put it back from a backup, or make it again"),
        ),
        (
            r"the audit log .+, so nothing (was done|can be recorded); .*",
            later("The audit log cannot be written, so nothing was done; tell whoever runs the workbench."),
        ),
        # ---- runs with parameters
        (
            r"parameter (?P<name>\w+) is (?P<given>.+); a whole number is wanted, like (?P<like>.+)",
            later("parameter {name} is {given}; a whole number is wanted, like {like}"),
        ),
        (
            r"parameter (?P<name>\w+) is (?P<given>.+); a number is wanted, like (?P<like>.+)",
            later("parameter {name} is {given}; a number is wanted, like {like}"),
        ),
        # ---- audiences
        (
            r"there is no audience number (?P<number>\d+).*",
            later("There is no audience {number}."),
        ),
        (
            r"audience '(?P<name>.+)' \(version (?P<version>\d+)\) is empty as of .+; loosen its conditions",
            later("audience {name} (version {version}) is empty; loosen its conditions"),
        ),
        (
            r"the name of the audience is .*; give 1 to (?P<most>\d+) characters",
            later("the name of the audience is too long or empty; give 1 to {most} characters"),
        ),
        (
            r"the audience has (?P<found>\d+) conditions; use at most (?P<most>\d+)",
            later("the audience has {found} conditions; use at most {most}"),
        ),
        (
            r"the group 'any' (is empty|holds a group without conditions).*",
            later("A group of which at least one condition must hold is empty; put a condition into it or remove it."),
        ),
        # ---- campaigns
        (
            r"name is empty; a campaign is recorded .*",
            later("name is empty; a campaign is recorded with its name, its goal and its owner"),
        ),
        (
            r"goal is empty; a campaign is recorded .*",
            later("goal is empty; a campaign is recorded with its name, its goal and its owner"),
        ),
        (
            r"owner is empty; a campaign is recorded .*",
            later("owner is empty; a campaign is recorded with its name, its goal and its owner"),
        ),
        (
            r"the campaign has no arms, .*",
            later("the campaign has no arms, so it would contact nobody; choose a product and a channel"),
        ),
        (
            r"two arms are named .*",
            later("two arms have the same product and channel; change one of them"),
        ),
        (
            r"control_share is [\d.e-]+, a control group of nobody; .*",
            later("The control group is empty, so the effect could not be measured; leave some alone, 15% say."),
        ),
        (
            r"ends_on (?P<last>\S+) is before starts_on (?P<first>\S+); .*",
            later("the last day ({last}) is before the first ({first}); exchange them"),
        ),
        (
            r"starts_on (?P<first>\S+) is in the past .*",
            later("the first day ({first}) is in the past; choose a later one"),
        ),
        (
            r"budget_minor .+ does not pay for one contact, .*",
            later("the budget does not pay for one contact; raise it or take a cheaper channel"),
        ),
        (
            r"every day from (?P<first>\S+) to (?P<last>\S+) is a holiday or a quiet weekday; .*",
            later("every day from {first} to {last} is a holiday or a weekend; choose other dates"),
        ),
        (
            r"baseline is .+ and effect .+; .*",
            later("The share who buy anyway and the effect worth finding must stay below 100% together."),
        ),
        (
            r"by is empty; an approval .*",
            later("An approval is recorded with the name of who gives it; write your name."),
        ),
        (
            r"(?P<who>.+) owns campaign .+; somebody else approves it",
            later("{who} owns this campaign; somebody else approves it"),
        ),
        (
            r"campaign .+ was changed by somebody else meanwhile .*",
            later("Somebody else changed this campaign meanwhile; open it again, then repeat."),
        ),
        (
            r"the list of campaign .+ is empty: .*",
            later("Nobody of this campaign may be contacted any more; nothing was exported."),
        ),
    )
]


def words(say: Language, error: CrmError) -> str:
    """Return what an error says in the reader's language; a message of an unknown form as it is.

    >>> from crmlib.views.texts import speak
    >>> words(speak("ru"), CrmError("two arms are named 'a'; give each its own name"))
    'у двух вариантов одинаковые продукт и канал; измените один из них'
    """
    message = str(error)
    for form, told in _KNOWN:
        found = form.fullmatch(message)
        if found:
            return say.text(told, **found.groupdict())
    return message
