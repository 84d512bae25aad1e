"""The operations, one module per resource. Importing this package registers them all."""

from sandbox.resources import charges as charges
from sandbox.resources import customers as customers
from sandbox.resources import events as events
from sandbox.resources import invoice_actions as invoice_actions
from sandbox.resources import invoice_items as invoice_items
from sandbox.resources import invoice_payments as invoice_payments
from sandbox.resources import invoices as invoices
from sandbox.resources import meter_events as meter_events
from sandbox.resources import meters as meters
from sandbox.resources import payment_intents as payment_intents
from sandbox.resources import payment_methods as payment_methods
from sandbox.resources import prices as prices
from sandbox.resources import products as products
from sandbox.resources import setup_intents as setup_intents
from sandbox.resources import sources as sources
from sandbox.resources import subscription_items as subscription_items
from sandbox.resources import subscriptions as subscriptions
from sandbox.resources import test_clocks as test_clocks
from sandbox.resources import webhook_endpoints as webhook_endpoints
