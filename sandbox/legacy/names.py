"""Invented companies and plausible addresses; every mail address lies under example.com."""

from __future__ import annotations

from collections import Counter

from sandbox.legacy.specs import Address
from sandbox.legacy.stream import Stream

STEMS = (
    "Alderquist", "Brindlemoor", "Cressavale", "Dunmarrow", "Elverstone", "Farrowgate", "Glenhazel", "Hollinbeck",
    "Inkerby", "Jessamund", "Kestrelyn", "Larkenfield", "Marlowick", "Netherquay", "Oakhampstead", "Pellworth",
    "Quillmarsh", "Rookhaven", "Saltersby", "Tarnwick", "Umberleigh", "Vantrisse", "Wexcombe", "Yarrowdale",
    "Zennorby", "Ashgrove", "Bellmont", "Caldersby", "Drumlowe", "Eastmarch", "Fallowmere", "Greystoke",
    "Hawksmoor", "Ivybridge", "Juniperhill", "Kirkwold", "Lowenthal", "Mistral", "Norwald", "Orrinmoor",
)  # fmt: skip
# The name and how its mail domain spells it.
JAPANESE_STEMS = (
    ("星見野", "hoshimino"),
    ("霧ヶ浜", "kirigahama"),
    ("楓坂", "kaedezaka"),
    ("藤波台", "fujinamidai"),
    ("水無瀬原", "minasehara"),
    ("月影橋", "tsukikagebashi"),
    ("松籟", "shorai"),
    ("朝凪", "asanagi"),
    ("雪代", "yukishiro"),
    ("花筏", "hanaikada"),
    ("夕霧", "yugiri"),
    ("千歳丘", "chitoseoka"),
)
TRADES = {
    "US": ("Media, Inc.", "Outdoor LLC", "Travel Group, Inc.", "Foods Co.", "Learning, Inc.", "Motors LLC"),
    "DE": ("Verlag GmbH", "Medien GmbH", "Handel GmbH & Co. KG", "Reisen GmbH"),
    "FR": ("Médias SARL", "Voyages SAS", "Édition SAS"),
    "ES": ("Medios S.L.", "Viajes S.L.", "Diseño S.L."),
    "JP": ("メディア株式会社", "商事株式会社", "トラベル株式会社"),
    "GB": ("Media Ltd", "Publishing Ltd", "Retail plc", "& Daughters Ltd"),
}
PLACES = {
    "US": (
        ("1200 Harbor Street", "Portland", "97204", "OR"),
        ("48 Juniper Avenue", "Austin", "78701", "TX"),
        ("915 Mill Road", "Columbus", "43215", "OH"),
        ("77 Foundry Lane", "Providence", "02903", "RI"),
    ),
    "DE": (
        ("Lindenallee 14", "Köln", "50667", None),
        ("Am Mühlenbach 3", "Freiburg im Breisgau", "79098", None),
        ("Große Gasse 21", "Leipzig", "04109", None),
    ),
    "FR": (("12 rue des Tilleuls", "Lyon", "69002", None), ("5 quai de la Fosse", "Nantes", "44000", None)),
    "ES": (("Calle del Olmo 18", "Zaragoza", "50001", None), ("Avenida Peñalara 7", "Madrid", "28034", None)),
    "JP": (
        ("中央町二丁目4番7号", "札幌市", "060-0001", "北海道"),
        ("本町1丁目8-3", "大阪市", "541-0053", "大阪府"),
    ),
    "GB": (("9 Cooper's Yard", "Bristol", "BS1 4QA", None), ("31 Weavers Row", "Leeds", "LS1 5PZ", None)),
}


class CompanyNames:
    """Hands out invented company names, each name and each mail domain once."""

    def __init__(self) -> None:
        self._given: Counter[bool] = Counter()

    def take(self, country: str, stream: Stream) -> tuple[str, str]:
        """The next company's name and the label of its mail domain."""
        japanese = country == "JP"
        stems = JAPANESE_STEMS if japanese else tuple((stem, stem.lower()) for stem in STEMS)
        round_number, index = divmod(self._given[japanese], len(stems))
        self._given[japanese] += 1
        stem, slug = stems[index]
        number = str(round_number + 1) if round_number else ""
        trade = stream.pick(TRADES[country])
        return (
            f"{stem}{number}{trade}" if japanese else f"{stem} {number} {trade}".replace("  ", " ")
        ), slug + number


def make_address(country: str, stream: Stream) -> Address:
    """A plausible address in the country."""
    line1, city, postal_code, state = stream.pick(PLACES[country])
    line2 = f"Suite {stream.between(2, 40)}0" if country == "US" and stream.below(3) == 0 else None
    return Address(line1, city, postal_code, country, state, line2)


def make_copies(slug: str, stream: Stream) -> str | None:
    """Who gets a copy of the invoice: nobody, one address, or two with a comma between."""
    choice = stream.below(6)
    if choice == 0:
        return f"finance@{slug}.example.com, controlling@{slug}.example.com"
    return f"finance@{slug}.example.com" if choice < 3 else None
