# The shop on what Oracle gives away: two machines with 1 GB, a bucket for the storefront, and a load balancer of 10 Mbps.
# With config/samples/always-free.env the first machine has all of the shop on it, and the second is a spare one. With
# config/samples/always-free-supabase.env both serve: serving_machines = 2.

provider "oci" {
  region = var.region
}

module "network" {
  source            = "../network"
  compartment_id    = var.compartment_id
  name              = "bharatmart"
  private_instances = false
  ssh_from          = var.ssh_from
}

locals {
  # The firewall of the images themselves lets nothing but SSH in.
  user_data = <<-EOT
    #!/bin/sh
    iptables --insert INPUT --protocol tcp --dport 3000 --jump ACCEPT
    netfilter-persistent save
  EOT
}

resource "oci_core_instance" "this" {
  count               = 2
  compartment_id      = var.compartment_id
  availability_domain = var.availability_domain
  display_name        = "bharatmart-${count.index + 1}"
  shape               = "VM.Standard.E2.1.Micro"

  source_details {
    source_type = "image"
    source_id   = var.image_id
  }

  create_vnic_details {
    subnet_id        = module.network.instances_subnet_id
    assign_public_ip = "true"
    hostname_label   = "bharatmart-${count.index + 1}"
    nsg_ids          = [module.network.security_groups["instances"]]
  }

  instance_options {
    are_legacy_imds_endpoints_disabled = true
  }

  metadata = {
    ssh_authorized_keys = var.ssh_public_key
    user_data           = base64encode(local.user_data)
  }

  lifecycle {
    # A newer image must not replace a machine with a database on it.
    ignore_changes = [source_details, metadata]
  }
}

data "oci_objectstorage_namespace" "this" {
  compartment_id = var.compartment_id
}

# publish-frontend.sh fills it.
resource "oci_objectstorage_bucket" "frontend" {
  compartment_id = var.compartment_id
  namespace      = data.oci_objectstorage_namespace.this.namespace
  name           = "bharatmart-frontend"
  access_type    = "ObjectReadWithoutList"
}

resource "oci_load_balancer_load_balancer" "this" {
  compartment_id             = var.compartment_id
  display_name               = "bharatmart-api-lb"
  shape                      = "flexible"
  subnet_ids                 = [module.network.public_subnet_id]
  network_security_group_ids = [module.network.security_groups["load-balancer"]]

  shape_details {
    minimum_bandwidth_in_mbps = 10
    maximum_bandwidth_in_mbps = 10
  }
}

resource "oci_load_balancer_backend_set" "api" {
  load_balancer_id = oci_load_balancer_load_balancer.this.id
  name             = "api-backend-set"
  policy           = "ROUND_ROBIN"

  health_checker {
    protocol          = "HTTP"
    url_path          = "/api/health"
    port              = 3000
    return_code       = 200
    interval_ms       = 10000
    timeout_in_millis = 3000
    retries           = 3
  }
}

resource "oci_load_balancer_backend" "api" {
  count            = var.serving_machines
  load_balancer_id = oci_load_balancer_load_balancer.this.id
  backendset_name  = oci_load_balancer_backend_set.api.name
  ip_address       = oci_core_instance.this[count.index].private_ip
  port             = 3000
}

resource "oci_load_balancer_listener" "http" {
  load_balancer_id         = oci_load_balancer_load_balancer.this.id
  name                     = "http"
  default_backend_set_name = oci_load_balancer_backend_set.api.name
  port                     = 80
  protocol                 = "HTTP"

  connection_configuration {
    idle_timeout_in_seconds = "60"
  }
}
