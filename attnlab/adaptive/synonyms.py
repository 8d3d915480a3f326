"""Words that may stand for each other in film reviews and in news, in all their forms.

The list is our own. Both words of a pair stand in the same forms, in the same order, so that a
plural replaces a plural and a past a past; words whose forms would fit in two places are left out.
"""

import numpy as np

__all__ = ["PAIRS", "partner_of"]

# forms of one word, "=", the same forms of the other
PAIRS = """
film films = movie movies
actor actors = performer performers
director directors = filmmaker filmmakers
plot plots = storyline storylines
tale tales = story stories
viewer viewers = spectator spectators
ending endings = conclusion conclusions
kid kids = child children
job jobs = task tasks
pal pals = friend friends
automobile automobiles = car cars
error errors = mistake mistakes
flaw flaws = defect defects
idea ideas = notion notions
humor = humour
cliche cliches = platitude platitudes
genre genres = category categories
script scripts = screenplay screenplays
writer writers = author authors
firm firms = company companies
accord accords = agreement agreements
shipment shipments = delivery deliveries
bank banks = lender lenders
sum sums = amount amounts
nation nations = country countries
government governments = administration administrations
official officials = functionary functionaries
spokesman spokesmen = spokesperson spokespersons
worker workers = employee employees
result results = outcome outcomes
acquisition acquisitions = takeover takeovers
gathering gatherings = assembly assemblies
teenager teenagers = adolescent adolescents
physician physicians = doctor doctors
attorney attorneys = lawyer lawyers
location locations = place places
picturesque = scenic
courageous = brave
sophisticated = refined
problem problems = difficulty difficulties
funny = amusing
hilarious = uproarious
boring = tedious
dull = drab
smart = clever
silly = foolish
stupid = idiotic
awful = dreadful
terrible = horrible
bad = poor
great = superb
wonderful = marvelous
brilliant = dazzling
beautiful = lovely
scary = frightening
strange = odd
weird = bizarre
predictable = foreseeable
original = inventive
slow = sluggish
quick = swift
fast = rapid
big = large
bigger = larger
biggest = largest
enormous = huge
tiny = minuscule
entire = whole
genuine = authentic
real = actual
sincere = heartfelt
exciting = thrilling
gripping = riveting
engaging = absorbing
charming = delightful
enjoyable = pleasant
entertaining = diverting
romantic = amorous
violent = brutal
sad = sorrowful
angry = furious
famous = renowned
rich = wealthy
easy = simple
perfect = flawless
pointless = futile
clumsy = awkward
shallow = superficial
profound = deep
tired = weary
annual = yearly
preliminary = provisional
foreign = overseas
significant = considerable
often = frequently
seldom = rarely
quickly = rapidly
nearly = almost
mostly = mainly
perhaps = maybe
entirely = completely
truly = really
lengthy = long
ludicrous = ridiculous
grim = bleak
witty = humorous
vivid = lively
eerie = spooky
mediocre = middling
pretentious = pompous
endearing = lovable
dreary = dismal
remarkable = extraordinary
uneven = inconsistent
fascinating = captivating
unpleasant = disagreeable
extremely = exceedingly
sometimes = occasionally
eventually = ultimately
begin begins began = start starts started
buy buys bought = purchase purchases purchased
seem seems seemed = appear appears appeared
permit permits permitted = allow allows allowed
depict depicts depicted = portray portrays portrayed
annoy annoys annoyed = irritate irritates irritated
astonish astonishes astonished = amaze amazes amazed
"""


def _table() -> dict[str, list[str]]:
    """Each form and what may stand for it."""
    found: dict[str, list[str]] = {}
    for line in PAIRS.strip().splitlines():
        left, right = (side.split() for side in line.split("="))
        for first, second in zip(left, right, strict=True):
            found.setdefault(first, []).append(second)
            found.setdefault(second, []).append(first)
    return found


_PARTNERS = _table()


def partner_of(word: str, generator: np.random.Generator) -> str | None:
    """A word that may stand for this one, in the same form and case; None if there is none.

    >>> partner_of("Movies", np.random.default_rng(0))
    'Films'
    """
    partners = _PARTNERS.get(word.lower())
    if not partners:
        return None
    found = partners[int(generator.integers(len(partners)))]
    if word.isupper() and len(word) > 1:
        return found.upper()
    return found.capitalize() if word[0].isupper() else found


def __dir__() -> list[str]:
    return sorted(__all__)
