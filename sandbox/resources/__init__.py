"""The operations, one module per resource. Importing this package registers them all."""

from sandbox.resources import customers as customers
from sandbox.resources import events as events
from sandbox.resources import prices as prices
from sandbox.resources import products as products
from sandbox.resources import webhook_endpoints as webhook_endpoints
