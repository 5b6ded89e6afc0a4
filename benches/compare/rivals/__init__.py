"""The tools that are compared, one file each, in the order of the report."""

from ..install import Tools
from .base import Rival


def all_rivals(tools: Tools) -> list[Rival]:
    from .aria2 import Aria2, Aria2Http
    from .croc import Croc
    from .libtorrent import Libtorrent
    from .nginx import Nginx, NginxTls
    from .parcelry import Parcelry
    from .rqbit import Rqbit
    from .rsync import Rsync
    from .sendme import Sendme
    from .tahoe import Tahoe
    from .transmission import Transmission

    kinds = [
        Parcelry,
        Nginx,
        NginxTls,
        Aria2Http,
        Rsync,
        Libtorrent,
        Aria2,
        Transmission,
        Rqbit,
        Sendme,
        Tahoe,
        Croc,
    ]
    return [kind(tools) for kind in kinds]
