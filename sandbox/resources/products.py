"""Products."""

from __future__ import annotations

from sandbox.engine.context import Context
from sandbox.engine.errors import JsonObject, StripeError, invalid
from sandbox.engine.routing import on_load, operation
from sandbox.engine.shapes import list_page
from sandbox.engine.store import Store
from sandbox.resources.fields import changed, filter_created, filter_equal, merge_metadata, unset

_PLAIN = ("active", "description", "images", "marketing_features", "name", "package_dimensions", "shippable")
_MORE = ("statement_descriptor", "tax_code", "unit_label", "url")


@on_load
def _declare(store: Store) -> None:
    store.index("price", "product")


@operation("POST", "/v1/products", params="ProductCreateParams")
def create_product(ctx: Context) -> JsonObject:
    """Create a product, with its default price if ``default_price_data`` is given; emits ``product.created``."""
    params = ctx.params
    id = params.get("id") or ctx.store.new_id("prod")
    if ctx.store.get("product", id):
        raise StripeError(400, f"Product already exists: {id}", code="resource_already_exists", param="id")
    product = build_product(ctx, id, params)
    ctx.store.put("product", product)
    ctx.emit("product.created", product)
    if "default_price_data" in params:
        from sandbox.resources.prices import add_price

        price = add_price(ctx, {**params["default_price_data"], "product": id}, "default_price_data")
        product["default_price"] = price["id"]
        ctx.store.put("product", product)
        ctx.emit("product.updated", product, {"default_price": None})
    return product


def build_product(ctx: Context, id: str, params: JsonObject) -> JsonObject:
    """Return a new product from create parameters, or from ``product_data`` of a price. Stores nothing."""
    now = ctx.now()
    product: JsonObject = {
        "id": id,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "name": params["name"],
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": params.get("type", "service"),
        "unit_label": None,
        "updated": now,
        "url": None,
    }
    _apply(product, params)
    return product


@operation("GET", "/v1/products/{id}", params="ProductRetrieveParams")
def retrieve_product(ctx: Context) -> JsonObject:
    """Return a product, or the tombstone of a deleted one."""
    id = ctx.path["id"]
    return ctx.store.buried("product", id) or ctx.require("product", id)


@operation("POST", "/v1/products/{id}", params="ProductModifyParams")
def update_product(ctx: Context) -> JsonObject:
    """Update a product; emits ``product.updated`` where something changed."""
    product = ctx.require("product", ctx.path["id"])
    after = dict(product)
    _apply(after, ctx.params)
    if "metadata" in ctx.params:
        after["metadata"] = merge_metadata(product["metadata"], ctx.params["metadata"])
    if "default_price" in ctx.params:
        price = ctx.require("price", ctx.params["default_price"], "default_price")
        if price["product"] != product["id"]:
            raise invalid(
                "default_price", f"The price {price['id']} does not belong to the product {product['id']}."
            )
        after["default_price"] = price["id"]
    previous = changed(product, after)
    if previous:
        after["updated"] = ctx.now()
        ctx.store.put("product", after)
        ctx.emit("product.updated", after, {**previous, "updated": product["updated"]})
    return after


@operation("DELETE", "/v1/products/{id}", params="ProductDeleteParams")
def delete_product(ctx: Context) -> JsonObject:
    """Delete a product without prices; emits ``product.deleted``."""
    product = ctx.require("product", ctx.path["id"])
    if ctx.store.find("price", "product", product["id"]):
        raise StripeError(
            400,
            "This product cannot be deleted because it has one or more user-created prices.",
        )
    ctx.emit("product.deleted", product)
    return ctx.store.bury("product", product["id"])


@operation("GET", "/v1/products", params="ProductListParams")
def list_products(ctx: Context) -> JsonObject:
    """List products; ``active``, ``created``, ``ids``, ``shippable``, ``type`` and ``url`` filter."""
    items = filter_equal(ctx.store.all("product"), ctx.params, "active", "shippable", "type", "url")
    if "ids" in ctx.params:
        wanted = set(ctx.params["ids"])
        items = [item for item in items if item["id"] in wanted]
    return list_page(ctx, filter_created(items, ctx.params.get("created")), "/v1/products")


def _apply(product: JsonObject, params: JsonObject) -> None:
    for name in (*_PLAIN, *_MORE):
        if name in params:
            value = unset(params[name])
            product[name] = [] if value is None and name in ("images", "marketing_features") else value
