resource "oci_psql_db_system" "this" {
  compartment_id              = var.compartment_id
  display_name                = "bharatmart"
  db_version                  = "16"
  shape                       = "VM.Standard.E4.Flex"
  instance_count              = 2
  instance_ocpu_count         = 2
  instance_memory_size_in_gbs = 32

  storage_details {
    system_type           = "OCI_OPTIMIZED_STORAGE"
    is_regionally_durable = var.database_availability_domain == null
    availability_domain   = var.database_availability_domain
  }

  network_details {
    subnet_id                  = module.network.instances_subnet_id
    nsg_ids                    = [module.network.security_groups["data"]]
    is_reader_endpoint_enabled = true
  }

  credentials {
    username = "bharatmart"

    password_details {
      password_type  = "VAULT_SECRET"
      secret_id      = var.database_password_secret_id
      secret_version = "1"
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

# The service's default is noeviction, which is right for the queues.
resource "oci_redis_oci_cache_config_set" "cache" {
  compartment_id   = var.compartment_id
  display_name     = "bharatmart-cache-lru"
  software_version = "REDIS_7_0"

  configuration_details {
    items {
      config_key   = "maxmemory-policy"
      config_value = "allkeys-lru"
    }
  }
}

resource "oci_redis_redis_cluster" "this" {
  for_each = {
    cache = oci_redis_oci_cache_config_set.cache.id
    queue = null
  }
  compartment_id          = var.compartment_id
  display_name            = "bharatmart-redis-${each.key}"
  node_count              = 2
  node_memory_in_gbs      = 2
  software_version        = "REDIS_7_0"
  subnet_id               = module.network.instances_subnet_id
  nsg_ids                 = [module.network.security_groups["data"]]
  oci_cache_config_set_id = each.value
}
