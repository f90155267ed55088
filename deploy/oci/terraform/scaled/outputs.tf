output "load_balancer_addresses" {
  value = oci_load_balancer_load_balancer.this.ip_address_details[*].ip_address
}

output "pool_ids" {
  value = { for name, pool in oci_core_instance_pool.this : name => pool.id }
}

output "cache_redis_url" {
  value = "rediss://${oci_redis_redis_cluster.this["cache"].primary_fqdn}:6379"
}

output "queue_redis_url" {
  value = "rediss://${oci_redis_redis_cluster.this["queue"].primary_fqdn}:6379"
}

output "database_id" {
  description = "Shows the names of the primary's and the readers' endpoints: oci psql connection-details get --db-system-id"
  value       = oci_psql_db_system.this.id
}

output "database_host" {
  description = "The primary's address, for DATABASE_URL and DATABASE_DIRECT_URL."
  value       = oci_psql_db_system.this.network_details[0].primary_db_endpoint_private_ip
}
