"""What is there and what is missing: one small module a subject. Nothing here changes anything.

check       what one look found
machine     Python, packages, the kernel of notebooks
recordings  whether they are whole
namespaces  what arms of network namespaces need
kubernetes  what arms on clusters need
examination all that the named arms need
"""

from labkit.doctor.check import Check
from labkit.doctor.examination import examine

__all__ = ["Check", "examine"]
