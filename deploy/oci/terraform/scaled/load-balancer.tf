resource "oci_load_balancer_load_balancer" "this" {
  compartment_id             = var.compartment_id
  display_name               = "bharatmart-api-lb"
  shape                      = "flexible"
  subnet_ids                 = [module.network.public_subnet_id]
  network_security_group_ids = [module.network.security_groups["load-balancer"]]

  shape_details {
    minimum_bandwidth_in_mbps = 10
    maximum_bandwidth_in_mbps = var.maximum_bandwidth_mbps
  }
}

resource "oci_load_balancer_backend_set" "this" {
  for_each = {
    # While it drains, the API answers 503 there, and the load balancer sends it nothing more.
    api-backend-set      = { port = 3000, path = "/api/health" }
    frontend-backend-set = { port = 80, path = "/" }
  }
  load_balancer_id = oci_load_balancer_load_balancer.this.id
  name             = each.key
  policy           = "ROUND_ROBIN"

  health_checker {
    protocol          = "HTTP"
    url_path          = each.value.path
    port              = each.value.port
    return_code       = 200
    interval_ms       = 10000
    timeout_in_millis = 3000
    retries           = 3
  }
}

resource "oci_load_balancer_load_balancer_routing_policy" "api_by_path" {
  load_balancer_id           = oci_load_balancer_load_balancer.this.id
  name                       = "api_by_path"
  condition_language_version = "V1"

  rules {
    name      = "api"
    condition = "any(http.request.url.path sw '/api/')"

    actions {
      name             = "FORWARD_TO_BACKENDSET"
      backend_set_name = oci_load_balancer_backend_set.this["api-backend-set"].name
    }
  }
}

resource "oci_load_balancer_rule_set" "to_https" {
  count            = var.certificate_id == null ? 0 : 1
  load_balancer_id = oci_load_balancer_load_balancer.this.id
  name             = "to_https"

  items {
    action        = "REDIRECT"
    response_code = 301

    conditions {
      attribute_name  = "PATH"
      attribute_value = "/"
      operator        = "FORCE_LONGEST_PREFIX_MATCH"
    }

    redirect_uri {
      protocol = "HTTPS"
      port     = 443
    }
  }
}

resource "oci_load_balancer_listener" "http" {
  load_balancer_id         = oci_load_balancer_load_balancer.this.id
  name                     = "http"
  default_backend_set_name = oci_load_balancer_backend_set.this["frontend-backend-set"].name
  routing_policy_name      = var.certificate_id == null ? oci_load_balancer_load_balancer_routing_policy.api_by_path.name : null
  rule_set_names           = oci_load_balancer_rule_set.to_https[*].name
  port                     = 80
  protocol                 = "HTTP"

  connection_configuration {
    idle_timeout_in_seconds = "60"
  }
}

resource "oci_load_balancer_listener" "https" {
  count                    = var.certificate_id == null ? 0 : 1
  load_balancer_id         = oci_load_balancer_load_balancer.this.id
  name                     = "https"
  default_backend_set_name = oci_load_balancer_backend_set.this["frontend-backend-set"].name
  routing_policy_name      = oci_load_balancer_load_balancer_routing_policy.api_by_path.name
  port                     = 443
  protocol                 = "HTTP"

  ssl_configuration {
    certificate_ids         = [var.certificate_id]
    verify_peer_certificate = false
  }

  connection_configuration {
    idle_timeout_in_seconds = "60"
  }
}
