FROM python:3.13-slim
WORKDIR /srv/shiplock
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY infrastructure infrastructure
COPY api api
RUN pip install --no-cache-dir --no-deps . && useradd --create-home shiplock \
    && install --directory --owner=shiplock --mode=700 /var/lib/shiplock
USER shiplock
# Its port is published as localhost; set the names under which it is reached otherwise.
ENV SHIPLOCK_HOSTS=localhost
EXPOSE 8000
ENTRYPOINT ["shiplock"]
CMD ["serve", "--host", "0.0.0.0"]
