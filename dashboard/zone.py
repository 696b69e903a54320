"""The zone that times are shown in. Only what is seen changes with it: stores, links and downloads are in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

# Fixed offsets by the name that people use; IANA's own counts them the other way round.
_OFFSETS = {f"GMT{hours:+d}": f"Etc/GMT{-hours:+d}" for hours in (*range(-12, 0), *range(1, 15))}
_KNOWN = available_timezones()  # looked for on disk, which takes tens of milliseconds
_PLACES = sorted(name for name in _KNOWN if "/" in name and not name.startswith("Etc/"))
CHOICES = ("UTC", *_OFFSETS, *_PLACES)


@dataclass(frozen=True)
class Zone:
    """A time zone by its IANA name."""

    name: str = "UTC"

    @classmethod
    def of(cls, choice: str | None, viewer: str | None) -> Zone:
        """What was chosen of `CHOICES`, else the viewer's own, else UTC; what does not exist counts as not given."""
        for name in (_OFFSETS.get(choice or "", choice), viewer):
            if name in _KNOWN:
                return cls(str(name))
        return cls()

    def offset(self, at: datetime) -> timedelta:
        """How far it is ahead of UTC then."""
        return at.astimezone(ZoneInfo(self.name)).utcoffset() or timedelta(0)

    def label(self, at: datetime) -> str:
        """`UTC`, or how far ahead of it: `GMT+5`, `GMT-3:30`."""
        minutes = round(self.offset(at).total_seconds() / 60)
        if not minutes:
            return "UTC"
        hours, rest = divmod(abs(minutes), 60)
        return f"GMT{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02d}" if rest else "")

    def clock(self, time: datetime, now: datetime) -> str:
        """A time of day here, with the date where it is another day than `now`'s."""
        here, today = (moment.astimezone(ZoneInfo(self.name)) for moment in (time, now))
        return f"{here:%H:%M}" if here.date() == today.date() else f"{here:%Y-%m-%d %H:%M}"

    def told(self, time: datetime, now: datetime) -> str:
        """`clock` with the zone's label: `14:05 GMT+5`."""
        return f"{self.clock(time, now)} {self.label(time)}"


UTC_ZONE = Zone()
