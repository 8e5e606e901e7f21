"""The value of a customer: actual, predicted and potential (see docs/customer_value.md)."""

NAME = "customer_value"
