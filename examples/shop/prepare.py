"""Makes the database. Runs to completion before web and workers start."""

import orders

orders.create()
print(f"{orders.DB} is ready")
