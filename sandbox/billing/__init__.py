"""Billing as Stripe does it: tiers, prorations, the calendar of periods, invoices from draft to paid.

Pure arithmetic is in `money`, `calendar`, `tiers`, `proration`, `settlement`, `totals`, `lines` and `diff`.
The rest works on the store through a `Context`. What happens at a moment to come waits in `due` and is worked
through by `advancing`.

Events by operation, in the order in which they are recorded (`[...]` where it applies):

- meters: `billing.meter.created | updated | deactivated | reactivated`; meter events and adjustments: none.
- test clocks: `test_helpers.test_clock.created | advancing | ready | deleted` (`internal_failure` if the
  sandbox itself fails).
- create subscription: `[invoiceitem.created]`, `customer.subscription.created` (status `incomplete` while
  something is to be charged), `invoice.created`, then for `charge_automatically`: finalization and collection
  as below at once.
- update subscription or its items: `[invoiceitem.created per proration]`, `[an invoice as below]`,
  `customer.subscription.updated`.
- cancel: `[invoice.created, ...]`, `customer.subscription.deleted`. Planned cancellations (`cancel_at`,
  `cancel_at_period_end`) give `customer.subscription.updated` now and `invoice.created` and
  `customer.subscription.deleted` when they come due.
- trial: `customer.subscription.trial_will_end` three days before its end (at once if it is shorter).
- period end: `invoice.created`, `customer.subscription.updated`; an hour later finalization and collection.
- finalization: `[customer.updated: balance]`, `invoice.finalized`, `invoice.updated`.
- collection: `payment_intent.created`, `charge.succeeded`, `payment_intent.succeeded`,
  `invoice_payment.paid`, `invoice.updated`, `invoice.paid`, `invoice.payment_succeeded`,
  `[customer.subscription.updated: status]`. A declined card: `charge.failed`,
  `payment_intent.payment_failed`, `invoice.updated`, `invoice.payment_failed`,
  `[customer.subscription.updated: past_due]`; after the last retry `customer.subscription.deleted`. Nothing
  due: `invoice.updated`, `invoice.paid`, `invoice.payment_succeeded`. `send_invoice`: `invoice.sent`, and
  `invoice.overdue` when the due date passes.
- invoices by hand: `invoice.created | updated | deleted | finalized | sent | voided | marked_uncollectible |
  paid | ...`; invoice items: `invoiceitem.created | updated | deleted`, `[invoice.updated]` for one on a
  draft.
- credit notes: `credit_note.created | updated | voided`, `[invoice.updated, invoice.paid]`, `[refund
  events]`, `[customer.updated: balance]`. Balance transactions: `customer.updated`.
- checkout sessions: `checkout.session.completed | expired`, after the events of what completing them created.

Decisions where Stripe's documentation leaves room:

- A metered item appears on the first invoice as one line of quantity 0 and amount 0 whose period is empty; on
  a cycle invoice without usage as one line of quantity 0 in its first tier.
- Pending invoice items come first among the lines, oldest first; then the subscription's items in their
  order, tiers ascending.
- Usage counts as soon as it is accepted. A draft is rated anew when it is finalized.
- A removed metered item drops the usage that no invoice has billed yet.
- A total below the currency's minimum charge is carried to the balance whichever way the invoice is collected.
- A declined renewal is tried again after 3, 5 and 7 days; then the subscription is cancelled, or what the
  environment variable `SANDBOX_AFTER_LAST_RETRY` says (`canceled`, `unpaid`, `past_due`).
- An invoice that was finalized by hand with `auto_advance` is charged an hour later; automatic ones at once.
- A meter event's identifier is free again after 24 hours of the wall clock, the least that Stripe promises.
- Finalization does not wait for the acknowledgement of `invoice.created`.
- Not covered, and refused where a request asks for it: items of mixed intervals, an anchor other than the
  trial's end, schedules, promotion codes, billing thresholds, transfers, shipping costs, automatic tax.
"""
