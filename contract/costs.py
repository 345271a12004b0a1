"""What reads cost a mail operator: the one model that gate, reports and studies share.

A read that is accepted and right costs nothing here. One that is rejected is keyed by a person. One
that is accepted and wrong sends a letter astray.
"""

from dataclasses import dataclass
from typing import Final

# Share of accepted reads that may be wrong: what the service promises unless it is set otherwise.
PROMISED_ERROR_FRAC: Final = 0.001


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of one read, in euros and seconds."""

    # Assumption: a letter that is carried to a wrong office and back costs about another letter's
    # carriage, 1 euro of the usual inland tariffs.
    wrong_read_eur: float = 1.0
    # Assumption: a person looks at one crop and presses one key. Of whole addresses, USPS's keyers
    # do about 900 images and 7,150 keystrokes an hour (news.usps.com, "Key player", 2019-01-04).
    keying_s: float = 3.0
    # Eurostat, hourly labour costs in the EU, 2024 (dataset lc_lci_lev, published 2025-03-28)
    keying_eur_per_hour: float = 33.5

    @property
    def reject_eur(self) -> float:
        """One rejected read: the time of the person who keys it."""
        return self.keying_s / 3600 * self.keying_eur_per_hour

    @property
    def keys_per_hour(self) -> float:
        """What one person keys, hour after hour."""
        return 3600 / self.keying_s

    def euros_per_million(self, rejected_frac: float, wrong_frac: float) -> float:
        """Cost of a million reads.

        Args:
            rejected_frac: share of all reads that a person keys.
            wrong_frac: share of all reads that are accepted and wrong.
        """
        return 1e6 * (rejected_frac * self.reject_eur + wrong_frac * self.wrong_read_eur)


DEFAULT: Final = Costs()
