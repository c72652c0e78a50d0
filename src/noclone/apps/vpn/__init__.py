"""VPNs that people already run, fed with keys from KMEs: WireGuard, IPsec, stunnel."""
