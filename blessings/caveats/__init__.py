"""Caveats: conditions on a blessing, their judgement, and the discharges that third parties sign."""
