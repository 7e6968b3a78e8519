"""What the name of a CPU says: one key for all its spellings, its vendor, and the year its generation came out.

/proc/cpuinfo, SPEC and the TDP list write the same CPU differently; `cpu_key` brings them together. `generation` reads
the vendors' numbering schemes (Intel "Processor Names and Numbers", AMD "EPYC model number decoder"): the year is when
the generation was first sold, to about half a year. Names outside the schemes have none. Pure text in, text out.
"""

from __future__ import annotations

import re

_DROPPED = re.compile(r"\(.*?\)|[®™]|@.*|,.*|processor|cpu|\d+-core|\d+(\.\d+)? ?ghz.*")
_NOISE = re.compile(
    r"\(.*?\)|\[.*?\]|[®™]|@.*|:.*|,.*|\b\d+(\.\d+)? ?[gm]hz.*|\b(processor|cpu|dell sku|soc|scalable|series)\b"
    r"|\b(\d+|dual|quad|six|eight|twelve)-core\b"
)
_BRAND = re.compile(
    r"\b(intel|amd|xeon|platinum|gold|silver|bronze|epyc|opteron|core|genuine|ampere|altra|max|64-bit|multi-core)\b"
)
_AMD = re.compile(r"amd|epyc|opteron|ryzen|athlon|phenom|sempron|turion")
_INTEL = re.compile(r"intel|xeon|pentium|celeron|atom|(?<!-)\bcore\b")

_EPYC = {"71": 2017.4, "72": 2019.6, "73": 2021.2, "94": 2022.8, "84": 2023.7, "95": 2024.8, "44": 2024.4, "45": 2025.3}
_OPTERON = {"61": 2010.2, "41": 2010.5, "62": 2011.9, "42": 2011.9, "63": 2012.9, "43": 2012.9, "33": 2012.9}
_OPTERON_OLD = {"2": 2006.6, "3": 2008.2, "4": 2009.5}
_XEON_V = {
    "3": {1: 2011.3, 2: 2012.4, 3: 2013.5, 4: 2015.4, 5: 2015.8, 6: 2017.2},
    "5": {1: 2012.2, 2: 2013.7, 3: 2014.7, 4: 2016.2},
    "7": {1: 2011.3, 2: 2014.1, 3: 2015.4, 4: 2016.4},
}
_XEON_E = {"1": 2018.5, "2": 2019.5, "3": 2021.7, "4": 2023.9}
_XEON_D = {"15": 2015.2, "21": 2018.1, "17": 2022.1, "27": 2022.1}
_XEON_SCALABLE = {"1": 2017.5, "2": 2019.3, "3": 2021.3, "4": 2023.0, "5": 2023.95}
_XEON_EARLY = {
    "30": 2006.8,
    "31": 2008.0,
    "32": 2007.1,
    "33": 2008.1,
    "34": 2009.7,
    "51": 2006.5,
    "52": 2007.9,
    "53": 2006.9,
    "54": 2007.9,
    "55": 2009.2,
    "56": 2010.2,
    "70": 2005.9,
    "71": 2006.6,
    "73": 2007.7,
    "74": 2008.7,
    "75": 2010.2,
}
_ARM = {"altra max": 2021.7, "altra": 2020.4, "grace": 2023.0, "ultra": 2025.0}


def canonical_cpu(name: str) -> str:
    """A CPU's name without marks, frequency and core count, so that /proc/cpuinfo and SPEC agree."""
    return " ".join(_DROPPED.sub(" ", _plain(name)).split())


def cpu_key(name: str) -> str:
    """`vendor:model`, the same for every spelling; an empty model where the name says none ("Intel Xeon")."""
    text = _BRAND.sub(" ", _NOISE.sub(" ", _plain(name))).strip()
    text = re.sub(r"(?<=[\dl])\s+(?=v\d\b|he\b|ee\b|se\b)", "", text)
    text = re.sub(r"^-d[ -]", "d-", re.sub(r"^e\s+(?=e-)", "", text))
    text = re.sub(r"^(i\d) (?=\d)", r"\1-", text)
    return f"{vendor(name)}:{' '.join(text.split())}"


def vendor(name: str) -> str:
    """`amd`, `intel` or, for all others, an empty text."""
    text = _plain(name)
    return "amd" if _AMD.search(text) else "intel" if _INTEL.search(text) else ""


def generation(name: str) -> float | None:
    """The year in which the CPU's generation came out; None where the name follows no known scheme."""
    text = _plain(name)
    found = re.search(r"epyc (\d)\w{2}(\d)", text)
    if found:
        return _EPYC.get(found[1] + found[2])
    found = re.search(r"opteron\D*(\d)(\d)\d\d", text)
    if found:
        return _OPTERON.get(found[1] + found[2]) or _OPTERON_OLD.get(found[2])
    arm = next((year for word, year in _ARM.items() if word in text), None)
    return arm or _intel_generation(text)


def _intel_generation(text: str) -> float | None:
    found = re.search(r"\be([357])-\d{4}l?\w?\s*(?:v(\d))?", text)
    if found:
        return _XEON_V[found[1]].get(int(found[2] or 1))
    found = re.search(r"\be-2(\d)\d\d", text)
    if found:
        return _XEON_E.get(found[1])
    found = re.search(r"\bd-?\s?(\d\d)\d\d", text)
    if found:
        return _XEON_D.get(found[1])
    if re.search(r"\b6\d{3}e\b", text):
        return 2024.5
    if re.search(r"\b6\d{3}p\b", text):
        return 2024.9
    found = re.search(r"(?:platinum|gold|silver|bronze|xeon)\s+[3-9](\d)\d{2}(\w*)", text)
    if found and re.search(r"platinum|gold|silver|bronze|8[45]\d\d", text):
        cooper_lake = found[1] == "3" and "h" in found[2]
        return 2020.4 if cooper_lake else _XEON_SCALABLE.get(found[1])
    found = re.search(r"\b[xlew]?(\d\d)\d\d\b", text)
    return _XEON_EARLY.get(found[1]) if found else None


def _plain(name: str) -> str:
    return name.lower().replace("(r)", "").replace("(tm)", "")
