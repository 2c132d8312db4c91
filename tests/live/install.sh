#!/bin/sh
# Installs what the tests marked `live` talk to and this machine lacks: Debian packages (as root or through sudo),
# PyPI's playwright into the Python that is named, npm's WHEP client beside the tests.
#
#     tests/live/install.sh .venv/bin/python
set -eu

python=${1:?the Python that runs the tests}
here=$(cd "$(dirname "$0")" && pwd)
root=""
[ "$(id -u)" = 0 ] || root="sudo"

missing=""
firefox=firefox-esr
# Ubuntu has no package of the release with extended support.
grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null && firefox=firefox
# Programs may be here from elsewhere than Debian's packages.
for program in chromium ffmpeg npm strace; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
command -v firefox-esr >/dev/null || command -v firefox >/dev/null || missing="$missing $firefox"
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
for package in gir1.2-gst-rtsp-server-1.0 gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-base \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gstreamer1.0-rtsp gstreamer1.0-tools python3-gi; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || { echo "this is for Debian and Ubuntu; install by hand:$missing" >&2; exit 1; }
    echo "Installing$missing …"
    export DEBIAN_FRONTEND=noninteractive
    $root apt-get update -qq
    # shellcheck disable=SC2086
    $root apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 $missing >/dev/null
fi

"$python" -c "import playwright" 2>/dev/null || "$python" -m pip install -q playwright
[ -d "$here/node_modules/whip-whep" ] || npm install --silent --no-audit --no-fund --prefix "$here" --no-save whip-whep@1.2.0
