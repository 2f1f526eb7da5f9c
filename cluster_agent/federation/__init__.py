"""Federation: the bundles of other trust domains, which administrators add and pod agents hand out."""
