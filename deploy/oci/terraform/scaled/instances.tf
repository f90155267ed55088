locals {
  layers = {
    frontend       = { role = "frontend", worker_type = "", size = 2, backend_set = "frontend-backend-set", port = 80 }
    api            = { role = "api", worker_type = "", size = 2, backend_set = "api-backend-set", port = 3000 }
    worker-email   = { role = "worker", worker_type = "email", size = 2, backend_set = null, port = null }
    worker-order   = { role = "worker", worker_type = "order", size = 2, backend_set = null, port = null }
    worker-payment = { role = "worker", worker_type = "payment", size = 2, backend_set = null, port = null }
  }
}

resource "oci_core_instance_configuration" "this" {
  for_each       = local.layers
  compartment_id = var.compartment_id
  display_name   = "bharatmart-${each.key}"

  instance_details {
    instance_type = "compute"

    launch_details {
      compartment_id          = var.compartment_id
      display_name            = "bharatmart-${each.key}"
      shape                   = "VM.Standard.E4.Flex"
      capacity_reservation_id = var.capacity_reservation_id

      shape_config {
        ocpus         = var.ocpus
        memory_in_gbs = var.memory_gb
      }

      source_details {
        source_type = "image"
        image_id    = var.image_id
      }

      create_vnic_details {
        subnet_id        = module.network.instances_subnet_id
        assign_public_ip = false
        nsg_ids          = [module.network.security_groups["instances"]]
      }

      metadata = {
        user_data = base64encode(templatefile("${path.module}/../../cloud-init/first-boot.sh", {
          role               = each.value.role
          worker_type        = each.value.worker_type
          release_bucket     = "bharatmart-releases"
          release            = var.release
          release_sha256     = var.release_sha256
          settings_secret_id = var.settings_secret_id
        }))
      }

      # Autoscaling goes by what the agent measures.
      agent_config {
        is_monitoring_disabled = false
        is_management_disabled = false
      }

      instance_options {
        are_legacy_imds_endpoints_disabled = true
      }
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "oci_core_instance_pool" "this" {
  for_each                  = local.layers
  compartment_id            = var.compartment_id
  display_name              = "bharatmart-${each.key}"
  instance_configuration_id = oci_core_instance_configuration.this[each.key].id
  size                      = each.value.size

  dynamic "placement_configurations" {
    for_each = var.availability_domains

    content {
      availability_domain = placement_configurations.value
      primary_subnet_id   = module.network.instances_subnet_id
    }
  }

  dynamic "load_balancers" {
    for_each = each.value.backend_set == null ? [] : [each.value]

    content {
      load_balancer_id = oci_load_balancer_load_balancer.this.id
      backend_set_name = oci_load_balancer_backend_set.this[load_balancers.value.backend_set].name
      port             = load_balancers.value.port
      vnic_selection   = "PrimaryVnic"
    }
  }

  lifecycle {
    # Autoscaling's affair from then on.
    ignore_changes = [size]
  }

  depends_on = [oci_identity_policy.instances, oci_objectstorage_bucket.this]
}
