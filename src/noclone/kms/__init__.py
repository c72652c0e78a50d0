"""Key management: `SecretKey` -> key container. Store, delivery rules, ETSI GS QKD 014, KME to KME."""
