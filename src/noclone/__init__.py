"""noclone: a quantum-safe network in software, photons to packets.

Follow the journey of a key through the packages:

    link -> Detections -> distill -> SecretKey -> kms -> key container -> apps

`proofs` says how long a key may be, `trust` who could read it, `redteam` attacks, `watch` and `audit` answer.
"""

__version__ = "0.1.0"
