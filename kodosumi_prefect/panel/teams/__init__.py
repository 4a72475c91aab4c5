"""Teams: named lists of accounts that questions are asked of."""
