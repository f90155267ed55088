# The shop with each layer scaled by itself: pools of instances behind a load balancer, managed PostgreSQL and Redis.

provider "oci" {
  region = var.region
}

# Groups and policies are changed in the tenancy's home region only, and hold in all.
provider "oci" {
  alias  = "home"
  region = coalesce(var.home_region, var.region)
}

module "network" {
  source            = "../network"
  compartment_id    = var.compartment_id
  name              = "bharatmart"
  private_instances = true
}

data "oci_objectstorage_namespace" "this" {
  compartment_id = var.compartment_id
}

# publish-release.sh and publish-frontend.sh fill them.
resource "oci_objectstorage_bucket" "this" {
  for_each = {
    bharatmart-releases = "NoPublicAccess"
    bharatmart-frontend = "ObjectReadWithoutList"
  }
  compartment_id = var.compartment_id
  namespace      = data.oci_objectstorage_namespace.this.namespace
  name           = each.key
  access_type    = each.value
}

resource "oci_identity_dynamic_group" "instances" {
  provider       = oci.home
  compartment_id = var.tenancy_id
  name           = "bharatmart-instances"
  description    = "Instances that run BharatMart"
  matching_rule  = "ALL {instance.compartment.id = '${var.compartment_id}'}"
}

resource "oci_identity_policy" "instances" {
  provider       = oci.home
  compartment_id = var.tenancy_id
  name           = "bharatmart-instances"
  description    = "What instances that run BharatMart may read"
  statements = [
    "Allow dynamic-group ${oci_identity_dynamic_group.instances.name} to read objects in compartment id ${var.compartment_id} where target.bucket.name = 'bharatmart-releases'",
    "Allow dynamic-group ${oci_identity_dynamic_group.instances.name} to read secret-bundles in compartment id ${var.compartment_id} where target.secret.id = '${var.settings_secret_id}'",
  ]
}
