"""What stands in for the images of the lab: Debian's programs, under the names that the images have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["IMAGES", "Image", "image"]


@dataclass(frozen=True, slots=True)
class Image:
    """What a container of this image starts with, beside the machine's own programs under /usr.

    `files` are paths in the container with the file of `labkit/netns/stand_ins/` that stands there.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def argv(self, command: Sequence[str] = (), args: Sequence[str] = ()) -> list[str]:
        """What runs, given a container's `command` and `args`: Kubernetes' rule for ENTRYPOINT and CMD."""
        if command:
            return [*command, *args]
        return [*self.entrypoint, *(args or self.cmd)]


IDLE = Image(cmd=("sleep", "infinity"))

#: By the last part of their name. Whatever idles has the machine's tools in it: ip, curl, dig, tcpdump, iperf3.
IMAGES: dict[str, Image] = {
    "nginx": Image(
        cmd=("nginx", "-g", "daemon off;"),
        files={"/etc/nginx/nginx.conf": "nginx.conf"},
        folders=("/var/log/nginx", "/var/lib/nginx"),
    ),
    "httpd": Image(
        cmd=("httpd-foreground",),
        files={
            "/usr/local/bin/httpd-foreground": "httpd-foreground",
            "/usr/local/apache2/conf/httpd.conf": "httpd.conf",
            "/usr/local/apache2/htdocs/index.html": "index.html",
        },
    ),
    "netshoot": IDLE,
    "iperf3": Image(entrypoint=("iperf3",), cmd=("--help",)),
    "coredns": Image(
        entrypoint=("coredns",), files={"/usr/local/bin/coredns": "coredns"}, folders=("/run/hosts",)
    ),
    "pause": IDLE,
}


def image(name: str) -> Image:
    """The stand-in for an image, whatever its registry, tag or digest. Raises ProvisionError where there is none."""
    last = name.rpartition("/")[2].partition("@")[0].partition(":")[0]
    if last not in IMAGES:
        raise ProvisionError(
            f"a lab of namespaces has nothing that stands in for the image {name}; it has {', '.join(IMAGES)}"
        )
    return IMAGES[last]
