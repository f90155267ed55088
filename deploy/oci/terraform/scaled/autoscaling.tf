# A pool takes one configuration: thresholds, or schedules.

locals {
  thresholds = {
    frontend = { add = 1 }
    api      = { add = 2 }
  }
  # Quartz, in UTC, the only zone there is: 08:00 in India is 02:30.
  schedules = {
    up   = { size = 10, cron = "0 30 2 ? * * *" }
    down = { size = 3, cron = "0 30 14 ? * * *" }
  }
}

resource "oci_autoscaling_auto_scaling_configuration" "by_load" {
  for_each             = local.thresholds
  compartment_id       = var.compartment_id
  display_name         = "${each.key}-autoscale"
  cool_down_in_seconds = 300

  auto_scaling_resources {
    type = "instancePool"
    id   = oci_core_instance_pool.this[each.key].id
  }

  policies {
    display_name = "${each.key}-autoscale"
    policy_type  = "threshold"

    capacity {
      initial = 2
      min     = 2
      max     = 10
    }

    rules {
      display_name = "scale-out"

      action {
        type  = "CHANGE_COUNT_BY"
        value = each.value.add
      }

      metric {
        metric_source = "COMPUTE_AGENT"
        metric_type   = "CPU_UTILIZATION"

        threshold {
          operator = "GT"
          value    = 70
        }
      }
    }

    rules {
      display_name = "scale-in"

      action {
        type  = "CHANGE_COUNT_BY"
        value = -1
      }

      metric {
        metric_source = "COMPUTE_AGENT"
        metric_type   = "CPU_UTILIZATION"

        threshold {
          operator = "LT"
          value    = 30
        }
      }
    }
  }
}

resource "oci_autoscaling_auto_scaling_configuration" "by_clock" {
  compartment_id = var.compartment_id
  display_name   = "worker-order-schedule"

  auto_scaling_resources {
    type = "instancePool"
    id   = oci_core_instance_pool.this["worker-order"].id
  }

  dynamic "policies" {
    for_each = local.schedules

    content {
      display_name = "worker-order-${policies.key}"
      policy_type  = "scheduled"

      capacity {
        initial = policies.value.size
      }

      execution_schedule {
        type       = "cron"
        timezone   = "UTC"
        expression = policies.value.cron
      }
    }
  }
}
