"""`python -m labkit.netns TOPOLOGY --folder FOLDER`: see `labkit.netns.lab`."""

import sys

from labkit.netns.lab import main

sys.exit(main())
